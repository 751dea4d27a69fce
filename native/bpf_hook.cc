#include <optional>

#include "bpf.h"
#include "environment.h"
#include "netns.h"

// Where programs are attached to an interface. Interfaces are told by index, in the namespace of the calling thread.
// The attributes are spelled out because the headers of many a distribution are older than tcx (Linux 6.6):
// union bpf_attr and struct bpf_link_info of uapi/linux/bpf.h.

namespace podtap {
namespace {

/** `BpfPlace` of lib/native.ts. */
struct Place {
  std::uint32_t ifindex = 0;
  std::uint32_t attachType = 0;
  std::uint32_t flags = 0;
  std::uint32_t relativeId = 0;
  std::uint64_t revision = 0;
};

Place ParsePlace(napi_env env, napi_value object) {
  Place place;
  place.ifindex = ReadUnsigned(env, Property(env, object, "ifindex"));
  place.attachType = ReadUnsigned(env, Property(env, object, "attachType"));
  place.flags = OptionalUnsigned(env, object, "flags").value_or(0);
  place.relativeId = OptionalUnsigned(env, object, "relativeId").value_or(0);
  place.revision = ReadBigInt(env, Property(env, object, "expectedRevision"));
  return place;
}

/** BPF_PROG_ATTACH, BPF_PROG_DETACH. */
struct AttachAttributes {
  std::uint32_t ifindex = 0;
  std::uint32_t program = 0;
  std::uint32_t attachType = 0;
  std::uint32_t flags = 0;
  std::uint32_t replaced = 0;
  std::uint32_t relative = 0;
  std::uint64_t revision = 0;
};

struct LinkAttributes {
  std::uint32_t program = 0;
  std::uint32_t ifindex = 0;
  std::uint32_t attachType = 0;
  std::uint32_t flags = 0;
  std::uint32_t relative = 0;
  std::uint32_t padding = 0;
  std::uint64_t revision = 0;
};

struct QueryAttributes {
  std::uint32_t ifindex = 0;
  std::uint32_t attachType = 0;
  std::uint32_t queryFlags = 0;
  std::uint32_t attachFlags = 0;
  std::uint64_t programs = 0;
  std::uint32_t count = 0;
  std::uint32_t padding = 0;
  std::uint64_t programFlags = 0;
  std::uint64_t links = 0;
  std::uint64_t linkFlags = 0;
  std::uint64_t revision = 0;
};

Result<Done> Change(int command, const char* call, const Place& place, int program, int replaced = 0) {
  AttachAttributes attributes{place.ifindex,    static_cast<std::uint32_t>(program),  place.attachType,
                              place.flags,      static_cast<std::uint32_t>(replaced), place.relativeId,
                              place.revision};
  if (CallBpf(command, attributes) < 0) return LastError(call);
  return Done{};
}

Result<UniqueFd> CreateLink(const Place& place, int program) {
  LinkAttributes attributes{static_cast<std::uint32_t>(program), place.ifindex, place.attachType, place.flags,
                            place.relativeId, 0, place.revision};
  return OpenBpf(BPF_LINK_CREATE, attributes, "bpf(BPF_LINK_CREATE)");
}

Result<BpfHook> Query(const Place& place) {
  // The kernel's bound for one hook (BPF_MPROG_MAX): what it has fits.
  constexpr std::uint32_t kMost = 64;
  std::uint32_t programs[kMost] = {};
  std::uint32_t links[kMost] = {};
  QueryAttributes attributes;
  attributes.ifindex = place.ifindex;
  attributes.attachType = place.attachType;
  attributes.programs = AddressOf(programs);
  attributes.links = AddressOf(links);
  attributes.count = kMost;
  if (CallBpf(BPF_PROG_QUERY, attributes) < 0) return LastError("bpf(BPF_PROG_QUERY)");
  BpfHook hook;
  hook.revision = attributes.revision;
  for (std::uint32_t index = 0; index < attributes.count && index < kMost; ++index) {
    hook.attached.push_back({programs[index], links[index]});
  }
  return hook;
}

template <typename T>
Napi::Value Inside(const Napi::CallbackInfo& info, const char* call, bool needsProgram,
                   std::function<Result<T>(const Place&, int program)> act) {
  const SharedFile netns = FileArgument(info, 0);
  const SharedFile program = FileArgument(info, 2);
  if (!netns || (needsProgram && !program)) return RejectedPromise(info, Failure{EBADF, call});
  const Place place = ParsePlace(info.Env(), info[1]);
  return RunAsync<T>(info, [netns, program, place, act = std::move(act)](StopSignal) {
    return InNamespace<T>(netns->number(), [&] { return act(place, program ? program->number() : 0); });
  });
}

Napi::Value Attach(const Napi::CallbackInfo& info) {
  constexpr const char* kCall = "bpf(BPF_PROG_ATTACH)";
  const SharedFile replaced = FileArgument(info, 3);
  return Inside<Done>(info, kCall, true, [replaced](const Place& place, int program) {
    return Change(BPF_PROG_ATTACH, kCall, place, program, replaced ? replaced->number() : 0);
  });
}

Napi::Value Detach(const Napi::CallbackInfo& info) {
  constexpr const char* kCall = "bpf(BPF_PROG_DETACH)";
  return Inside<Done>(info, kCall, true,
                      [](const Place& place, int program) { return Change(BPF_PROG_DETACH, kCall, place, program); });
}

Napi::Value LinkCreate(const Napi::CallbackInfo& info) {
  return Inside<UniqueFd>(info, "bpf(BPF_LINK_CREATE)", true, CreateLink);
}

Napi::Value HookQuery(const Napi::CallbackInfo& info) {
  return Inside<BpfHook>(info, "bpf(BPF_PROG_QUERY)", false, [](const Place& place, int) { return Query(place); });
}

Napi::Value LinkDetach(const Napi::CallbackInfo& info) {
  const SharedFile link = FileArgument(info, 0);
  if (!link) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_LINK_DETACH)"});
  return RunAsync<Done>(info, [link](StopSignal) -> Result<Done> {
    struct {
      std::uint32_t link;
    } attributes{static_cast<std::uint32_t>(link->number())};
    if (CallBpf(BPF_LINK_DETACH, attributes) < 0) return LastError("bpf(BPF_LINK_DETACH)");
    return Done{};
  });
}

struct LinkInfoHead {
  std::uint32_t type = 0;
  std::uint32_t id = 0;
  std::uint32_t program = 0;
  std::uint32_t padding = 0;
  std::uint32_t first = 0;   // tcx: ifindex
  std::uint32_t second = 0;  // tcx: attach type
};
constexpr std::uint32_t kLinkTypeTcx = 11;

Napi::Value LinkInfo(const Napi::CallbackInfo& info) {
  const SharedFile link = FileArgument(info, 0);
  if (!link) return RejectedPromise(info, Failure{EBADF, "bpf(BPF_OBJ_GET_INFO_BY_FD)"});
  return RunAsync<BpfLink>(info, [link](StopSignal) -> Result<BpfLink> {
    LinkInfoHead head;
    Result<Done> queried = QueryBpf(link->number(), head);
    if (!queried.ok()) return std::move(queried.failure());
    const bool tcx = head.type == kLinkTypeTcx;
    return BpfLink{head.type, head.id, head.program, tcx ? head.first : 0, tcx ? head.second : 0};
  });
}

}  // namespace

napi_value ToValue(Environment&, napi_env env, BpfHook hook) {
  napi_value attached = nullptr;
  if (napi_create_array_with_length(env, hook.attached.size(), &attached) != napi_ok) return nullptr;
  for (std::uint32_t index = 0; index < hook.attached.size(); ++index) {
    const auto [program, link] = hook.attached[index];
    napi_value one =
        ObjectMaker(env).Set("program", MakeUnsigned(env, program)).Set("link", MakeUnsigned(env, link)).Finish();
    if (one == nullptr || napi_set_element(env, attached, index, one) != napi_ok) return nullptr;
  }
  return ObjectMaker(env).Set("revision", MakeBigInt(env, hook.revision)).Set("attached", attached).Finish();
}

napi_value ToValue(Environment&, napi_env env, BpfLink link) {
  return ObjectMaker(env)
      .Set("id", MakeUnsigned(env, link.id))
      .Set("type", MakeUnsigned(env, link.type))
      .Set("program", MakeUnsigned(env, link.program))
      .Set("ifindex", MakeUnsigned(env, link.ifindex))
      .Set("attachType", MakeUnsigned(env, link.attachType))
      .Finish();
}

void DefineBpfHooks(Exports& exports) {
  exports.Define<Attach>("bpfAttach");
  exports.Define<Detach>("bpfDetach");
  exports.Define<LinkCreate>("bpfLinkCreate");
  exports.Define<LinkDetach>("bpfLinkDetach");
  exports.Define<LinkInfo>("bpfLinkInfo");
  exports.Define<HookQuery>("bpfHookQuery");
}

}  // namespace podtap
