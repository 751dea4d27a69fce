#include "tun.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "datagrams.h"
#include "environment.h"
#include "netns.h"

namespace podtap {
namespace {

TunSpec ParseSpec(napi_env env, napi_value object) {
  TunSpec spec;
  spec.name = ReadText(env, Property(env, object, "name"));
  spec.flags = static_cast<std::uint16_t>(ReadUnsigned(env, Property(env, object, "flags")));
  spec.queues = ReadUnsigned(env, Property(env, object, "queues"));
  spec.ifindex = OptionalUnsigned(env, object, "ifindex");
  spec.persist = OptionalFlag(env, object, "persist");
  spec.owner = OptionalUnsigned(env, object, "owner");
  spec.group = OptionalUnsigned(env, object, "group");
  spec.vnetHeaderSize = OptionalUnsigned(env, object, "vnetHeaderSize");
  spec.offload = OptionalUnsigned(env, object, "offload");
  spec.hold = OptionalFlag(env, object, "hold").value_or(true);
  return spec;
}

ObjectMaker Describe(napi_env env, const TunInfo& info) {
  ObjectMaker object(env);
  object.Set("name", MakeText(env, info.name))
      .Set("ifindex", MakeUnsigned(env, info.ifindex))
      .Set("flags", MakeUnsigned(env, info.flags))
      .Set("vnetHeaderSize", MakeUnsigned(env, info.vnetHeaderSize));
  return object;
}

Napi::Value TunOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  const TunSpec spec = ParseSpec(info.Env(), info[1]);
  // Cut short it would be another device's name.
  if (spec.name.size() >= IFNAMSIZ) return RejectedPromise(info, Failure{ERANGE, "ioctl(TUNSETIFF)"});
  return RunAsync<TunDevice>(info, [netns, spec](StopSignal) {
    return InNamespace<TunDevice>(netns->number(), [&] { return OpenTun(spec); });
  });
}

Napi::Value TunInfoOf(const Napi::CallbackInfo& info) {
  const SharedFile queue = FileArgument(info, 0);
  if (!queue) return RejectedPromise(info, Failure{EBADF, "ioctl(TUNGETIFF)"});
  return RunAsync<TunInfo>(info, [queue](StopSignal) { return QueryTun(queue->number()); });
}

Napi::Value TunOf(const Napi::CallbackInfo& info) {
  const int pid = ReadSigned(info.Env(), info[0]);
  const int number = ReadSigned(info.Env(), info[1]);
  return RunAsync<ForeignTun>(info, [pid, number](StopSignal) { return FindForeignTun(pid, number); });
}

Result<std::uint32_t> QueryFeatures() {
  constexpr const char* kDevice = "/dev/net/tun";
  const UniqueFd device(open(kDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!device.valid()) return LastError("open", kDevice);
  unsigned int features = 0;
  if (ioctl(device.get(), TUNGETFEATURES, &features) < 0) return LastError("ioctl(TUNGETFEATURES)");
  return std::uint32_t{features};
}

Napi::Value TunFeatures(const Napi::CallbackInfo& info) {
  // The driver's features are the same in every namespace: no need to enter one.
  return RunAsync<std::uint32_t>(info, [](StopSignal) { return QueryFeatures(); });
}

Napi::Value TunSetQueue(const Napi::CallbackInfo& info) {
  const SharedFile queue = FileArgument(info, 0);
  const bool attached = ReadFlag(info.Env(), info[1]);
  if (!queue) return RejectedPromise(info, Failure{EBADF, "ioctl(TUNSETQUEUE)"});
  return RunAsync<Done>(info, [queue, attached](StopSignal) -> Result<Done> {
    ifreq request{};
    request.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    if (ioctl(queue->number(), TUNSETQUEUE, &request) < 0) return LastError("ioctl(TUNSETQUEUE)");
    return Done{};
  });
}

ssize_t ReadFrame(OpenFile& file, std::byte* into, std::size_t room) {
  const ssize_t length = read(file.number(), into, room);
  return length < 0 ? -errno : length;
}

napi_value ReadTun(napi_env env, napi_callback_info info) {
  return ReadDatagrams(env, info, kLargestFrame, ReadFrame);
}

}  // namespace

napi_value ToValue(Environment&, napi_env env, TunInfo info) { return Describe(env, info).Finish(); }

napi_value ToValue(Environment&, napi_env env, ForeignTun foreign) {
  return ObjectMaker(env)
      .Set("name", MakeText(env, foreign.name))
      .Set("netnsInode", MakeBigInt(env, foreign.netnsInode))
      .Finish();
}

napi_value ToValue(Environment& environment, napi_env env, TunDevice device) {
  napi_value queues = nullptr;
  if (napi_create_array_with_length(env, device.queues.size(), &queues) != napi_ok) return nullptr;
  for (std::uint32_t index = 0; index < device.queues.size(); ++index) {
    napi_value queue = MakeDescriptor(env, environment.descriptors, std::move(device.queues[index]));
    if (queue == nullptr || napi_set_element(env, queues, index, queue) != napi_ok) return nullptr;
  }
  return Describe(env, device.info).Set("queues", queues).Finish();
}

void DefineTun(Exports& exports) {
  exports.Define<TunOpen>("tunOpen");
  exports.Define<TunInfoOf>("tunInfo");
  exports.Define<TunFeatures>("tunFeatures");
  exports.Define<TunSetQueue>("tunSetQueue");
  exports.Define<TunOf>("tunOf");
  exports.Define("readTun", ReadTun);
}

}  // namespace podtap
