#pragma once

#include <cstddef>
#include <cstdlib>
#include <utility>

namespace podtap {

/** Bytes that grow at the end and are not zeroed first, as a vector's would be. */
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

  /** Room for `free` bytes after what is there, or null where there is no memory. Valid until the next call. */
  std::byte* Reserve(std::size_t free) {
    if (capacity_ - size_ < free) {
      const std::size_t capacity = size_ + (free > size_ ? free : size_);
      void* const moved = std::realloc(data_, capacity);
      if (moved == nullptr) return nullptr;
      data_ = static_cast<std::byte*>(moved);
      capacity_ = capacity;
    }
    return data_ + size_;
  }

  /** Takes the first `length` of the reserved bytes in. */
  void Commit(std::size_t length) { size_ += length; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace podtap
