#include "bpf.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "environment.h"
#include "netns.h"

namespace podtap {
namespace {

struct ProgramSpec {
  std::uint32_t type = 0;
  std::uint32_t attachType = 0;
  std::string name;
  std::string license;
  std::vector<bpf_insn> instructions;
  /** Pairs: which instruction, and which of `maps` its constant stands for. */
  std::vector<std::uint32_t> relocations;
  std::vector<SharedFile> maps;
};

struct LoadAttributes {
  std::uint32_t type = 0;
  std::uint32_t count = 0;
  std::uint64_t instructions = 0;
  std::uint64_t license = 0;
  std::uint32_t logLevel = 0;
  std::uint32_t logSize = 0;
  std::uint64_t log = 0;
  std::uint32_t kernelVersion = 0;
  std::uint32_t flags = 0;
  char name[BPF_OBJ_NAME_LEN] = {};
  std::uint32_t ifindex = 0;
  std::uint32_t attachType = 0;
};

/** BPF_PSEUDO_MAP_FD: the constant of a 16-byte load is a map's descriptor, of this process and now. */
Result<Done> Relocate(ProgramSpec& spec) {
  for (std::size_t at = 0; at + 1 < spec.relocations.size(); at += 2) {
    const std::uint32_t index = spec.relocations[at];
    const std::uint32_t map = spec.relocations[at + 1];
    if (index >= spec.instructions.size() || map >= spec.maps.size() || !spec.maps[map]) {
      return Failure{EBADF, "bpf(BPF_PROG_LOAD)"};
    }
    bpf_insn& instruction = spec.instructions[index];
    instruction.src_reg = BPF_PSEUDO_MAP_FD & 0xf;
    instruction.imm = spec.maps[map]->number();
  }
  return Done{};
}

Result<BpfLoaded> Load(ProgramSpec& spec) {
  Result<Done> relocated = Relocate(spec);
  if (!relocated.ok()) return std::move(relocated.failure());
  LoadAttributes attributes;
  attributes.type = spec.type;
  attributes.count = static_cast<std::uint32_t>(spec.instructions.size());
  attributes.instructions = AddressOf(spec.instructions.data());
  attributes.license = AddressOf(spec.license.c_str());
  attributes.attachType = spec.attachType;
  std::copy_n(spec.name.begin(), std::min(spec.name.size(), std::size_t{BPF_OBJ_NAME_LEN - 1}), attributes.name);
  BpfLoaded result;
  result.program.reset(CallBpf(BPF_PROG_LOAD, attributes));
  if (result.program.valid()) return result;
  result.error = errno;
  // The log costs time, so it is asked for only now; where it does not fit the kernel says ENOSPC.
  for (std::uint32_t room = 64 * 1024; room <= 16 * 1024 * 1024; room *= 4) {
    const std::unique_ptr<char[]> log(new (std::nothrow) char[room]);
    if (!log) break;
    log[0] = '\0';
    attributes.logLevel = 1;
    attributes.logSize = room;
    attributes.log = AddressOf(log.get());
    result.program.reset(CallBpf(BPF_PROG_LOAD, attributes));
    if (result.program.valid()) return result;  // memory was short for a moment, say
    const bool cut = errno == ENOSPC;
    if (!cut) result.error = errno;
    log[room - 1] = '\0';
    result.log = log.get();
    if (!cut) break;
  }
  return result;
}

ProgramSpec ParseProgram(napi_env env, napi_value object) {
  ProgramSpec spec;
  spec.type = ReadUnsigned(env, Property(env, object, "type"));
  spec.attachType = OptionalUnsigned(env, object, "attachType").value_or(0);
  spec.name = ReadText(env, Property(env, object, "name"));
  spec.license = ReadText(env, Property(env, object, "license"));
  const std::span<const std::byte> code = ReadBytes(env, Property(env, object, "instructions"));
  spec.instructions.resize(code.size() / sizeof(bpf_insn));
  if (!spec.instructions.empty()) {
    std::memcpy(spec.instructions.data(), code.data(), spec.instructions.size() * sizeof(bpf_insn));
  }
  spec.relocations = ReadNumbers(env, Property(env, object, "relocations"));
  napi_value maps = Property(env, object, "maps");
  std::uint32_t length = 0;
  bool given = false;
  if (maps == nullptr || napi_is_array(env, maps, &given) != napi_ok || !given) return spec;
  napi_get_array_length(env, maps, &length);
  for (std::uint32_t index = 0; index < length; ++index) {
    napi_value map = nullptr;
    napi_get_element(env, maps, index, &map);
    spec.maps.push_back(ToFile(env, map));
  }
  return spec;
}

Napi::Value ProgramLoad(const Napi::CallbackInfo& info) {
  return RunAsync<BpfLoaded>(
      info, [spec = ParseProgram(info.Env(), info[0])](StopSignal) mutable { return Load(spec); });
}

Result<BpfProgram> Describe(int program) {
  BpfProgram result{};
  bpf_prog_info counts{};
  Result<Done> counted = QueryBpf(program, counts);
  if (!counted.ok()) return std::move(counted.failure());
  result.maps.resize(counts.nr_map_ids);
  result.info.nr_map_ids = counts.nr_map_ids;
  result.info.map_ids = AddressOf(result.maps.data());
  Result<Done> queried = QueryBpf(program, result.info);
  if (!queried.ok()) return std::move(queried.failure());
  result.maps.resize(std::min<std::size_t>(result.maps.size(), result.info.nr_map_ids));
  return result;
}

Napi::Value ProgramInfo(const Napi::CallbackInfo& info) {
  const SharedFile program = FileArgument(info, 0);
  if (!program) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_OBJ_GET_INFO_BY_FD)"});
  return RunAsync<BpfProgram>(info, [program](StopSignal) { return Describe(program->number()); });
}

struct IdAttributes {
  std::uint32_t id = 0;
  std::uint32_t next = 0;
  std::uint32_t flags = 0;
};

struct Kind {
  const char* name;
  int open;
  const char* openCall;
  int next;
  const char* nextCall;
};
constexpr Kind kKinds[] = {
    {"program", BPF_PROG_GET_FD_BY_ID, "bpf(BPF_PROG_GET_FD_BY_ID)", BPF_PROG_GET_NEXT_ID, "bpf(BPF_PROG_GET_NEXT_ID)"},
    {"map", BPF_MAP_GET_FD_BY_ID, "bpf(BPF_MAP_GET_FD_BY_ID)", BPF_MAP_GET_NEXT_ID, "bpf(BPF_MAP_GET_NEXT_ID)"},
    {"link", BPF_LINK_GET_FD_BY_ID, "bpf(BPF_LINK_GET_FD_BY_ID)", BPF_LINK_GET_NEXT_ID, "bpf(BPF_LINK_GET_NEXT_ID)"},
};

const Kind& KindOf(const std::string& name) {
  return *std::find_if(std::begin(kKinds), std::end(kKinds) - 1, [&](const Kind& kind) { return name == kind.name; });
}

Napi::Value OpenId(const Napi::CallbackInfo& info) {
  const Kind& kind = KindOf(ReadText(info.Env(), info[0]));
  const std::uint32_t id = ReadUnsigned(info.Env(), info[1]);
  return RunAsync<UniqueFd>(info, [&kind, id](StopSignal) {
    IdAttributes attributes{id, 0, 0};
    return OpenBpf(kind.open, attributes, kind.openCall);
  });
}

Napi::Value Ids(const Napi::CallbackInfo& info) {
  const Kind& kind = KindOf(ReadText(info.Env(), info[0]));
  return RunAsync<BpfIds>(info, [&kind](StopSignal) -> Result<BpfIds> {
    BpfIds result;
    IdAttributes attributes;
    while (CallBpf(kind.next, attributes) == 0) {
      result.ids.push_back(attributes.next);
      attributes = {attributes.next, 0, 0};
    }
    if (errno != ENOENT) return LastError(kind.nextCall);
    return result;
  });
}

struct PathAttributes {
  std::uint64_t path = 0;
  std::uint32_t fd = 0;
  std::uint32_t flags = 0;
};

Napi::Value Pin(const Napi::CallbackInfo& info) {
  const SharedFile object = FileArgument(info, 0);
  const std::string path = ReadText(info.Env(), info[1]);
  if (!object) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_OBJ_PIN)", path});
  return RunAsync<Done>(info, [object, path](StopSignal) -> Result<Done> {
    PathAttributes attributes{AddressOf(path.c_str()), static_cast<std::uint32_t>(object->number()), 0};
    if (CallBpf(BPF_OBJ_PIN, attributes) < 0) return LastError("bpf(BPF_OBJ_PIN)", path);
    return Done{};
  });
}

Napi::Value OpenPinned(const Napi::CallbackInfo& info) {
  const std::string path = ReadText(info.Env(), info[0]);
  return RunAsync<UniqueFd>(info, [path](StopSignal) {
    PathAttributes attributes{AddressOf(path.c_str()), 0, 0};
    return OpenBpf(BPF_OBJ_GET, attributes, "bpf(BPF_OBJ_GET)", path);
  });
}

struct RunAttributes {
  std::uint32_t program = 0;
  std::uint32_t value = 0;
  std::uint32_t sizeIn = 0;
  std::uint32_t sizeOut = 0;
  std::uint64_t dataIn = 0;
  std::uint64_t dataOut = 0;
  std::uint32_t repeat = 0;
  std::uint32_t nanoseconds = 0;
};

Result<BpfRan> TestRun(int program, const std::vector<std::byte>& data, std::uint32_t repeat) {
  BpfRan result;
  // Room for what a program puts before a frame.
  const std::size_t room = data.size() + 256;
  std::byte* const out = result.data.Reserve(room);
  if (out == nullptr) return Failure{ENOMEM, "bpf(BPF_PROG_TEST_RUN)"};
  RunAttributes attributes;
  attributes.program = static_cast<std::uint32_t>(program);
  attributes.sizeIn = static_cast<std::uint32_t>(data.size());
  attributes.sizeOut = static_cast<std::uint32_t>(room);
  attributes.dataIn = AddressOf(data.data());
  attributes.dataOut = AddressOf(out);
  attributes.repeat = repeat;
  if (CallBpf(BPF_PROG_TEST_RUN, attributes) < 0) return LastError("bpf(BPF_PROG_TEST_RUN)");
  result.value = attributes.value;
  result.nanoseconds = attributes.nanoseconds;
  result.data.Commit(std::min(room, std::size_t{attributes.sizeOut}));
  return result;
}

Napi::Value ProgramRun(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  const SharedFile program = FileArgument(info, 1);
  const std::span<const std::byte> bytes = ReadBytes(info.Env(), info[2]);
  const std::uint32_t repeat = ReadUnsigned(info.Env(), info[3]);
  if (!netns || !program) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_PROG_TEST_RUN)"});
  std::vector<std::byte> data(bytes.begin(), bytes.end());
  return RunAsync<BpfRan>(info, [netns, program, data = std::move(data), repeat](StopSignal) {
    // The frame comes in by the namespace's loopback (net/bpf/test_run.c); what it is redirected to is looked up there.
    return InNamespace<BpfRan>(netns->number(), [&] { return TestRun(program->number(), data, repeat); });
  });
}

Napi::Value EnableStatistics(const Napi::CallbackInfo& info) {
  return RunAsync<UniqueFd>(info, [](StopSignal) {
    struct {
      std::uint32_t type;
    } attributes{BPF_STATS_RUN_TIME};
    return OpenBpf(BPF_ENABLE_STATS, attributes, "bpf(BPF_ENABLE_STATS)");
  });
}

}  // namespace

napi_value ToValue(Environment& environment, napi_env env, BpfLoaded loaded) {
  ObjectMaker object(env);
  if (loaded.program.valid()) {
    object.Set("program", MakeDescriptor(env, environment.descriptors, std::move(loaded.program)));
  }
  return object.Set("errno", MakeSigned(env, loaded.error)).Set("log", MakeText(env, loaded.log)).Finish();
}

napi_value ToValue(Environment&, napi_env env, BpfProgram program) {
  const bpf_prog_info& info = program.info;
  std::string tag;
  for (const unsigned char byte : info.tag) {
    constexpr const char* kDigits = "0123456789abcdef";
    tag += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return ObjectMaker(env)
      .Set("id", MakeUnsigned(env, info.id))
      .Set("type", MakeUnsigned(env, info.type))
      .Set("name", MakeText(env, std::string(info.name, strnlen(info.name, sizeof info.name))))
      .Set("tag", MakeText(env, tag))
      .Set("instructions", MakeUnsigned(env, info.xlated_prog_len / 8))
      .Set("mapIds", MakeNumbers(env, program.maps))
      .Set("loadTime", MakeBigInt(env, info.load_time))
      .Set("runTime", MakeBigInt(env, info.run_time_ns))
      .Set("runCount", MakeBigInt(env, info.run_cnt))
      .Finish();
}

napi_value ToValue(Environment&, napi_env env, BpfIds ids) { return MakeNumbers(env, ids.ids); }

napi_value ToValue(Environment&, napi_env env, BpfRan ran) {
  return ObjectMaker(env)
      .Set("value", MakeSigned(env, static_cast<std::int32_t>(ran.value)))
      .Set("nanoseconds", MakeUnsigned(env, ran.nanoseconds))
      .Set("data", MakeBytes(env, ran.data))
      .Finish();
}

void DefineBpf(Exports& exports) {
  exports.Define<ProgramLoad>("bpfProgramLoad");
  exports.Define<ProgramInfo>("bpfProgramInfo");
  exports.Define<ProgramRun>("bpfProgramRun");
  exports.Define<EnableStatistics>("bpfEnableStatistics");
  exports.Define<OpenId>("bpfOpenId");
  exports.Define<Ids>("bpfIds");
  exports.Define<Pin>("bpfPin");
  exports.Define<OpenPinned>("bpfOpenPinned");
  DefineBpfMaps(exports);
  DefineBpfHooks(exports);
}

}  // namespace podtap
