#include "values.h"

#include <cstring>

namespace podtap {
namespace {

/** Asked before every conversion: Deno's napi_get_value_uint32 takes undefined for 0. */
bool Is(napi_env env, napi_value value, napi_valuetype type) {
  napi_valuetype actual = napi_undefined;
  return value != nullptr && napi_typeof(env, value, &actual) == napi_ok && actual == type;
}

}  // namespace

std::string ReadText(napi_env env, napi_value value) {
  std::size_t length = 0;
  if (!Is(env, value, napi_string)) return {};
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return {};
  std::string text(length, '\0');
  // The terminating 0 goes where std::string keeps its own.
  napi_get_value_string_utf8(env, value, text.data(), length + 1, nullptr);
  return text;
}

std::uint32_t ReadUnsigned(napi_env env, napi_value value) {
  std::uint32_t number = 0;
  if (Is(env, value, napi_number)) napi_get_value_uint32(env, value, &number);
  return number;
}

std::int32_t ReadSigned(napi_env env, napi_value value) {
  std::int32_t number = 0;
  if (Is(env, value, napi_number)) napi_get_value_int32(env, value, &number);
  return number;
}

bool ReadFlag(napi_env env, napi_value value) {
  bool flag = false;
  if (Is(env, value, napi_boolean)) napi_get_value_bool(env, value, &flag);
  return flag;
}

std::span<const std::byte> ReadBytes(napi_env env, napi_value value) {
  napi_typedarray_type type = napi_uint8_array;
  std::size_t length = 0;
  void* data = nullptr;
  bool typed = false;
  if (value == nullptr || napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return {};
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) return {};
  if (type != napi_uint8_array || data == nullptr) return {};
  return {static_cast<const std::byte*>(data), length};
}

std::vector<std::uint32_t> ReadNumbers(napi_env env, napi_value value) {
  std::vector<std::uint32_t> numbers;
  std::uint32_t length = 0;
  bool given = false;
  if (value == nullptr || napi_is_array(env, value, &given) != napi_ok || !given) return numbers;
  napi_get_array_length(env, value, &length);
  for (std::uint32_t index = 0; index < length; ++index) {
    napi_value number = nullptr;
    napi_get_element(env, value, index, &number);
    numbers.push_back(ReadUnsigned(env, number));
  }
  return numbers;
}

std::uint64_t ReadBigInt(napi_env env, napi_value value) {
  std::uint64_t number = 0;
  bool lossless = false;
  if (Is(env, value, napi_bigint)) napi_get_value_bigint_uint64(env, value, &number, &lossless);
  return number;
}

napi_value Property(napi_env env, napi_value object, const char* key) {
  napi_value value = nullptr;
  if (!Is(env, object, napi_object)) return nullptr;
  if (napi_get_named_property(env, object, key, &value) != napi_ok) return nullptr;
  return value;
}

std::optional<std::uint32_t> OptionalUnsigned(napi_env env, napi_value object, const char* key) {
  napi_value value = Property(env, object, key);
  if (!Is(env, value, napi_number)) return std::nullopt;
  return ReadUnsigned(env, value);
}

std::optional<bool> OptionalFlag(napi_env env, napi_value object, const char* key) {
  napi_value value = Property(env, object, key);
  if (!Is(env, value, napi_boolean)) return std::nullopt;
  return ReadFlag(env, value);
}

napi_value MakeText(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

napi_value MakeUnsigned(napi_env env, std::uint32_t number) {
  napi_value value = nullptr;
  napi_create_uint32(env, number, &value);
  return value;
}

napi_value MakeSigned(napi_env env, std::int64_t number) {
  napi_value value = nullptr;
  napi_create_int64(env, number, &value);
  return value;
}

napi_value MakeBigInt(napi_env env, std::uint64_t number) {
  napi_value value = nullptr;
  napi_create_bigint_uint64(env, number, &value);
  return value;
}

napi_value MakeUndefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

napi_value MakeBytes(napi_env env, const Buffer& buffer) {
  void* data = nullptr;
  napi_value value = nullptr;
  if (napi_create_arraybuffer(env, buffer.size(), &data, &value) != napi_ok) return nullptr;
  if (buffer.size() > 0) std::memcpy(data, buffer.data(), buffer.size());
  return value;
}

napi_value MakeNumbers(napi_env env, const std::vector<std::uint32_t>& numbers) {
  napi_value value = nullptr;
  if (napi_create_array_with_length(env, numbers.size(), &value) != napi_ok) return nullptr;
  for (std::uint32_t index = 0; index < numbers.size(); ++index) {
    if (napi_set_element(env, value, index, MakeUnsigned(env, numbers[index])) != napi_ok) return nullptr;
  }
  return value;
}

ObjectMaker::ObjectMaker(napi_env env) : env_(env), complete_(napi_create_object(env, &object_) == napi_ok) {}

ObjectMaker& ObjectMaker::Set(const char* key, napi_value value) {
  complete_ = complete_ && value != nullptr && napi_set_named_property(env_, object_, key, value) == napi_ok;
  return *this;
}

}  // namespace podtap
