#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include <fcntl.h>

#include "bpf.h"
#include "environment.h"

// Many keys in one trip, by the commands for single ones: those for batches are newer (Linux 5.6), and not for every
// kind of map.

namespace podtap {
namespace {

/** How many bytes the kernel reads and writes. Asked of it, because it writes over the end of a shorter buffer. */
struct Shape {
  std::size_t key = 0;
  std::size_t value = 0;
  std::uint32_t entries = 0;
};

bool IsPerCpu(std::uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

/** num_possible_cpus(): "0", "0-3", "0-1,4-5". */
Result<std::size_t> PossibleCpus() {
  constexpr const char* kPath = "/sys/devices/system/cpu/possible";
  const UniqueFd file(open(kPath, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return LastError("open", kPath);
  std::array<char, 256> text;
  const ssize_t length = read(file.get(), text.data(), text.size());
  if (length < 0) return LastError("read", kPath);
  std::size_t count = 0;
  std::size_t first = 0;
  std::size_t number = 0;
  bool range = false;
  for (ssize_t at = 0; at < length; ++at) {
    const char c = text[static_cast<std::size_t>(at)];
    if (c >= '0' && c <= '9') {
      number = number * 10 + static_cast<std::size_t>(c - '0');
    } else if (c == '-') {
      first = number;
      number = 0;
      range = true;
    } else {
      count += range ? number - first + 1 : 1;
      number = 0;
      range = false;
      if (c != ',') break;
    }
  }
  return count;
}

Result<Shape> ShapeOf(int map) {
  bpf_map_info info{};
  Result<Done> queried = QueryBpf(map, info);
  if (!queried.ok()) return std::move(queried.failure());
  Shape shape{info.key_size, info.value_size, info.max_entries};
  if (IsPerCpu(info.type)) {
    Result<std::size_t> cpus = PossibleCpus();
    if (!cpus.ok()) return std::move(cpus.failure());
    shape.value = (shape.value + 7) / 8 * 8 * cpus.value();
  }
  return shape;
}

struct Element {
  std::uint32_t map = 0;
  std::uint64_t key alignas(8) = 0;
  std::uint64_t value = 0;
  std::uint64_t flags = 0;
};

std::byte* Add(Buffer& buffer, std::size_t length) {
  std::byte* const at = buffer.Reserve(length);
  if (at != nullptr) {
    std::memset(at, 0, length);
    buffer.Commit(length);
  }
  return at;
}

Result<BpfFound> Get(int map, std::span<const std::byte> keys) {
  Result<Shape> shape = ShapeOf(map);
  if (!shape.ok()) return std::move(shape.failure());
  const auto [key, value, entries] = shape.value();
  if (key == 0 || keys.size() % key != 0) return Failure{EINVAL, "bpf(BPF_MAP_LOOKUP_ELEM)"};
  BpfFound result;
  for (; !keys.empty(); keys = keys.subspan(key)) {
    std::byte* const into = Add(result.values, value);
    std::byte* const found = Add(result.found, 1);
    if (into == nullptr || found == nullptr) return Failure{ENOMEM, "bpf(BPF_MAP_LOOKUP_ELEM)"};
    Element element{static_cast<std::uint32_t>(map), AddressOf(keys.data()), AddressOf(into), 0};
    if (CallBpf(BPF_MAP_LOOKUP_ELEM, element) == 0) {
      *found = std::byte{1};
    } else if (errno != ENOENT) {
      return LastError("bpf(BPF_MAP_LOOKUP_ELEM)");
    }
  }
  return result;
}

Result<BpfChanged> Set(int map, std::span<const std::byte> keys, std::span<const std::byte> values,
                       std::uint64_t flags) {
  constexpr const char* kCall = "bpf(BPF_MAP_UPDATE_ELEM)";
  Result<Shape> shape = ShapeOf(map);
  if (!shape.ok()) return std::move(shape.failure());
  const auto [key, value, entries] = shape.value();
  if (key == 0 || keys.size() % key != 0 || values.size() != keys.size() / key * value) return Failure{EINVAL, kCall};
  BpfChanged result;
  for (; !keys.empty(); keys = keys.subspan(key), values = values.subspan(value)) {
    Element element{static_cast<std::uint32_t>(map), AddressOf(keys.data()), AddressOf(values.data()), flags};
    if (CallBpf(BPF_MAP_UPDATE_ELEM, element) < 0) {
      result.error = errno;
      break;
    }
    ++result.completed;
  }
  return result;
}

Result<BpfChanged> Delete(int map, std::span<const std::byte> keys) {
  Result<Shape> shape = ShapeOf(map);
  if (!shape.ok()) return std::move(shape.failure());
  const std::size_t key = shape.value().key;
  if (key == 0 || keys.size() % key != 0) return Failure{EINVAL, "bpf(BPF_MAP_DELETE_ELEM)"};
  BpfChanged result;
  for (; !keys.empty(); keys = keys.subspan(key)) {
    Element element{static_cast<std::uint32_t>(map), AddressOf(keys.data()), 0, 0};
    if (CallBpf(BPF_MAP_DELETE_ELEM, element) == 0) {
      ++result.completed;
    } else if (errno != ENOENT) {
      result.error = errno;
      break;
    }
  }
  return result;
}

/** What is there. Of a hash that others change meanwhile an entry may be missing or come twice. */
Result<BpfEntries> Entries(int map) {
  constexpr const char* kCall = "bpf(BPF_MAP_GET_NEXT_KEY)";
  Result<Shape> shape = ShapeOf(map);
  if (!shape.ok()) return std::move(shape.failure());
  const auto [key, value, entries] = shape.value();
  if (key == 0) return Failure{EINVAL, kCall};
  BpfEntries result;
  std::vector<std::byte> last;
  // A key that was deleted meanwhile starts a hash again from its beginning: bounded, or it could go on for ever.
  for (std::uint32_t count = 0; count < entries; ++count) {
    std::vector<std::byte> next(key);
    const std::uint64_t from = last.empty() ? 0 : AddressOf(last.data());
    Element element{static_cast<std::uint32_t>(map), from, AddressOf(next.data()), 0};
    if (CallBpf(BPF_MAP_GET_NEXT_KEY, element) < 0) {
      if (errno == ENOENT) break;
      return LastError(kCall);
    }
    std::byte* const into = result.values.Reserve(value);
    std::byte* const keyInto = result.keys.Reserve(key);
    if (into == nullptr || keyInto == nullptr) return Failure{ENOMEM, kCall};
    Element lookup{static_cast<std::uint32_t>(map), AddressOf(next.data()), AddressOf(into), 0};
    if (CallBpf(BPF_MAP_LOOKUP_ELEM, lookup) == 0) {
      std::memcpy(keyInto, next.data(), key);
      result.keys.Commit(key);
      result.values.Commit(value);
    } else if (errno != ENOENT) {
      return LastError("bpf(BPF_MAP_LOOKUP_ELEM)");
    }
    last = std::move(next);
  }
  return result;
}

struct CreateAttributes {
  std::uint32_t type = 0;
  std::uint32_t keySize = 0;
  std::uint32_t valueSize = 0;
  std::uint32_t maxEntries = 0;
  std::uint32_t flags = 0;
  std::uint32_t innerMap = 0;
  std::uint32_t numaNode = 0;
  char name[BPF_OBJ_NAME_LEN] = {};
};

std::vector<std::byte> Copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

Napi::Value MapCreate(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  CreateAttributes attributes;
  attributes.type = ReadUnsigned(env, Property(env, info[0], "type"));
  attributes.keySize = ReadUnsigned(env, Property(env, info[0], "keySize"));
  attributes.valueSize = ReadUnsigned(env, Property(env, info[0], "valueSize"));
  attributes.maxEntries = ReadUnsigned(env, Property(env, info[0], "maxEntries"));
  attributes.flags = ReadUnsigned(env, Property(env, info[0], "flags"));
  const std::string name = ReadText(env, Property(env, info[0], "name"));
  std::copy_n(name.begin(), std::min(name.size(), std::size_t{BPF_OBJ_NAME_LEN - 1}), attributes.name);
  return RunAsync<UniqueFd>(info, [attributes](StopSignal) mutable {
    return OpenBpf(BPF_MAP_CREATE, attributes, "bpf(BPF_MAP_CREATE)");
  });
}

Napi::Value MapGet(const Napi::CallbackInfo& info) {
  const SharedFile map = FileArgument(info, 0);
  if (!map) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_MAP_LOOKUP_ELEM)"});
  return RunAsync<BpfFound>(info, [map, keys = Copy(ReadBytes(info.Env(), info[1]))](StopSignal) {
    return Get(map->number(), keys);
  });
}

Napi::Value MapSet(const Napi::CallbackInfo& info) {
  const SharedFile map = FileArgument(info, 0);
  if (!map) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_MAP_UPDATE_ELEM)"});
  const std::uint32_t flags = ReadUnsigned(info.Env(), info[3]);
  return RunAsync<BpfChanged>(info, [map, keys = Copy(ReadBytes(info.Env(), info[1])),
                                     values = Copy(ReadBytes(info.Env(), info[2])), flags](StopSignal) {
    return Set(map->number(), keys, values, flags);
  });
}

Napi::Value MapDelete(const Napi::CallbackInfo& info) {
  const SharedFile map = FileArgument(info, 0);
  if (!map) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_MAP_DELETE_ELEM)"});
  return RunAsync<BpfChanged>(info, [map, keys = Copy(ReadBytes(info.Env(), info[1]))](StopSignal) {
    return Delete(map->number(), keys);
  });
}

Napi::Value MapEntries(const Napi::CallbackInfo& info) {
  const SharedFile map = FileArgument(info, 0);
  if (!map) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_MAP_GET_NEXT_KEY)"});
  return RunAsync<BpfEntries>(info, [map](StopSignal) { return Entries(map->number()); });
}

Napi::Value MapInfo(const Napi::CallbackInfo& info) {
  const SharedFile map = FileArgument(info, 0);
  if (!map) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_OBJ_GET_INFO_BY_FD)"});
  return RunAsync<BpfMap>(info, [map](StopSignal) -> Result<BpfMap> {
    BpfMap result{};
    Result<Done> queried = QueryBpf(map->number(), result.info);
    if (!queried.ok()) return std::move(queried.failure());
    return result;
  });
}

}  // namespace

napi_value ToValue(Environment&, napi_env env, BpfFound found) {
  return ObjectMaker(env)
      .Set("values", MakeBytes(env, found.values))
      .Set("found", MakeBytes(env, found.found))
      .Finish();
}

napi_value ToValue(Environment&, napi_env env, BpfEntries entries) {
  return ObjectMaker(env)
      .Set("keys", MakeBytes(env, entries.keys))
      .Set("values", MakeBytes(env, entries.values))
      .Finish();
}

napi_value ToValue(Environment&, napi_env env, BpfChanged changed) {
  return ObjectMaker(env)
      .Set("completed", MakeUnsigned(env, changed.completed))
      .Set("errno", MakeSigned(env, changed.error))
      .Finish();
}

napi_value ToValue(Environment&, napi_env env, BpfMap map) {
  const bpf_map_info& info = map.info;
  return ObjectMaker(env)
      .Set("id", MakeUnsigned(env, info.id))
      .Set("type", MakeUnsigned(env, info.type))
      .Set("name", MakeText(env, std::string(info.name, strnlen(info.name, sizeof info.name))))
      .Set("keySize", MakeUnsigned(env, info.key_size))
      .Set("valueSize", MakeUnsigned(env, info.value_size))
      .Set("maxEntries", MakeUnsigned(env, info.max_entries))
      .Set("flags", MakeUnsigned(env, info.map_flags))
      .Finish();
}

void DefineBpfMaps(Exports& exports) {
  exports.Define<MapCreate>("bpfMapCreate");
  exports.Define<MapGet>("bpfMapGet");
  exports.Define<MapSet>("bpfMapSet");
  exports.Define<MapDelete>("bpfMapDelete");
  exports.Define<MapEntries>("bpfMapEntries");
  exports.Define<MapInfo>("bpfMapInfo");
}

}  // namespace podtap
