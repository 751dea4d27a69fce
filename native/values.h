#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <node_api.h>

#include "buffer.h"

/**
 * Reading and making JavaScript values, by plain Node-API: unlike Napi::Value, whose conversions end the process
 * where one fails while another error is pending, or while a worker is being terminated.
 */
namespace podtap {

// JavaScript has validated what it passes. What is of another type reads as empty, 0, false or nothing.

std::string ReadText(napi_env env, napi_value value);
std::uint32_t ReadUnsigned(napi_env env, napi_value value);
std::int32_t ReadSigned(napi_env env, napi_value value);
bool ReadFlag(napi_env env, napi_value value);

/** The bytes of a typed array: its own window of the buffer. */
std::span<const std::byte> ReadBytes(napi_env env, napi_value value);

/** The elements of an array of numbers. */
std::vector<std::uint32_t> ReadNumbers(napi_env env, napi_value value);
std::uint64_t ReadBigInt(napi_env env, napi_value value);

/** A property; null where `object` is none. */
napi_value Property(napi_env env, napi_value object, const char* key);
std::optional<std::uint32_t> OptionalUnsigned(napi_env env, napi_value object, const char* key);
std::optional<bool> OptionalFlag(napi_env env, napi_value object, const char* key);

// Null with or without a pending exception where the runtime refuses.

napi_value MakeText(napi_env env, const std::string& text);
napi_value MakeUnsigned(napi_env env, std::uint32_t number);
napi_value MakeSigned(napi_env env, std::int64_t number);
napi_value MakeBigInt(napi_env env, std::uint64_t number);
napi_value MakeUndefined(napi_env env);
/** An ArrayBuffer, a copy: runtimes with a memory cage (Electron) refuse external ones. */
napi_value MakeBytes(napi_env env, const Buffer& buffer);
napi_value MakeNumbers(napi_env env, const std::vector<std::uint32_t>& numbers);

/** A plain object. */
class ObjectMaker {
 public:
  explicit ObjectMaker(napi_env env);

  ObjectMaker& Set(const char* key, napi_value value);

  /** Null where anything set was null or could not be set. */
  napi_value Finish() const { return complete_ ? object_ : nullptr; }

 private:
  napi_env env_;
  napi_value object_ = nullptr;
  bool complete_;
};

}  // namespace podtap
