#include "datagrams.h"

#include <array>
#include <cerrno>

#include <sys/socket.h>
#include <unistd.h>

#include "descriptor.h"
#include "environment.h"

// Raw Node-API here: these calls move single frames, and are the only ones whose own cost counts.

namespace podtap {
namespace {

/** The memory of a typed array; empty where `value` is none or its buffer is detached. */
template <typename Element>
std::span<Element> Elements(napi_env env, napi_value value) {
  void* data = nullptr;
  std::size_t length = 0;
  napi_typedarray_type type = napi_uint8_array;
  constexpr napi_typedarray_type kExpected = sizeof(Element) == 4 ? napi_uint32_array : napi_uint8_array;
  bool typed = false;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return {};
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) return {};
  if (type != kExpected || data == nullptr) return {};
  return {static_cast<Element*>(data), length};
}

ssize_t ReadAll(OpenFile& file, std::span<std::byte> into, std::span<std::uint32_t> ends, std::size_t largest,
                ReadOne readOne) {
  if (const int error = std::exchange(file.pendingError, 0); error != 0) return -error;
  if (into.empty() || ends.empty()) return -EINVAL;
  std::size_t used = 0;
  std::size_t count = 0;
  while (count < ends.size() && (count == 0 || into.size() - used >= largest)) {
    const ssize_t length = readOne(file, into.data() + used, into.size() - used);
    if (length < 0) {
      if (count == 0) return length;
      if (length != -EAGAIN) file.pendingError = static_cast<int>(-length);
      break;
    }
    used += static_cast<std::size_t>(length);
    ends[count++] = static_cast<std::uint32_t>(used);
    // The end of a stream, which every further read would report again; or an empty datagram.
    if (length == 0) break;
  }
  return static_cast<ssize_t>(count);
}

ssize_t ReceiveOne(OpenFile& file, std::byte* into, std::size_t room) {
  const ssize_t length = recv(file.number(), into, room, MSG_DONTWAIT);
  return length < 0 ? -errno : length;
}

napi_value ReadSocket(napi_env env, napi_callback_info info) {
  return ReadDatagrams(env, info, kLargestFrame, ReceiveOne);
}

napi_value Write(napi_env env, napi_callback_info info) {
  std::array<napi_value, 3> arguments{};
  std::size_t given = arguments.size();
  napi_get_cb_info(env, info, &given, arguments.data(), nullptr, nullptr);
  const SharedFile file = ToFile(env, arguments[0]);
  if (!file) return MakeSigned(env, -EBADF);
  std::uint32_t length = 0;
  bool list = false;
  if (napi_is_array(env, arguments[1], &list) == napi_ok && list) napi_get_array_length(env, arguments[1], &length);
  const std::uint32_t from = ReadUnsigned(env, arguments[2]);
  for (std::uint32_t index = from; index < length; ++index) {
    napi_value element = nullptr;
    napi_get_element(env, arguments[1], index, &element);
    const std::span<const std::byte> datagram = ReadBytes(env, element);
    if (write(file->number(), datagram.data(), datagram.size()) < 0) {
      return MakeSigned(env, index > from ? static_cast<ssize_t>(index - from) : -errno);
    }
  }
  return MakeSigned(env, length > from ? static_cast<ssize_t>(length - from) : 0);
}

}  // namespace

napi_value ReadDatagrams(napi_env env, napi_callback_info info, std::size_t largest, ReadOne readOne) {
  std::array<napi_value, 3> arguments{};
  std::size_t given = arguments.size();
  napi_get_cb_info(env, info, &given, arguments.data(), nullptr, nullptr);
  const SharedFile file = ToFile(env, arguments[0]);
  if (!file) return MakeSigned(env, -EBADF);
  const std::span<std::byte> into = Elements<std::byte>(env, arguments[1]);
  const std::span<std::uint32_t> ends = Elements<std::uint32_t>(env, arguments[2]);
  return MakeSigned(env, ReadAll(*file, into, ends, largest, readOne));
}

void DefineDatagrams(Exports& exports) {
  exports.Define("readSocket", ReadSocket);
  exports.Define("write", Write);
}

}  // namespace podtap
