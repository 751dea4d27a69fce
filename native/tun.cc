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

std::optional<std::uint32_t> OptionalNumber(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsNumber()) return std::nullopt;
  return value.As<Napi::Number>().Uint32Value();
}

std::optional<bool> OptionalFlag(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsBoolean()) return std::nullopt;
  return value.As<Napi::Boolean>().Value();
}

TunSpec ParseSpec(const Napi::Object& object) {
  TunSpec spec;
  spec.name = object.Get("name").As<Napi::String>().Utf8Value();
  spec.flags = static_cast<std::uint16_t>(object.Get("flags").As<Napi::Number>().Uint32Value());
  spec.queues = object.Get("queues").As<Napi::Number>().Uint32Value();
  spec.ifindex = OptionalNumber(object, "ifindex");
  spec.persist = OptionalFlag(object, "persist");
  spec.owner = OptionalNumber(object, "owner");
  spec.group = OptionalNumber(object, "group");
  spec.vnetHeaderSize = OptionalNumber(object, "vnetHeaderSize");
  spec.offload = OptionalNumber(object, "offload");
  spec.hold = OptionalFlag(object, "hold").value_or(true);
  return spec;
}

Napi::Object ToObject(napi_env env, const TunInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", info.name);
  object.Set("ifindex", info.ifindex);
  object.Set("flags", info.flags);
  object.Set("vnetHeaderSize", info.vnetHeaderSize);
  return object;
}

Napi::Value TunOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  const TunSpec spec = ParseSpec(info[1].As<Napi::Object>());
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

Result<std::uint32_t> QueryFeatures() {
  constexpr const char* kDevice = "/dev/net/tun";
  const UniqueFd device(open(kDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!device.valid()) return LastError("open", kDevice);
  unsigned int features = 0;
  if (ioctl(device.get(), TUNGETFEATURES, &features) < 0) return LastError("ioctl(TUNGETFEATURES)");
  return std::uint32_t{features};
}

Napi::Value TunFeatures(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "open"});
  // The driver's features are the same in every namespace: no need to enter this one.
  return RunAsync<std::uint32_t>(info, [](StopSignal) { return QueryFeatures(); });
}

/** An ioctl of a queue that takes its argument by value, on an executor thread. */
Napi::Value Control(const Napi::CallbackInfo& info, unsigned long request, unsigned long argument,
                    const char* syscall) {
  const SharedFile queue = FileArgument(info, 0);
  if (!queue) return RejectedPromise(info, Failure{EBADF, syscall});
  return RunAsync<Done>(info, [=](StopSignal) -> Result<Done> {
    if (ioctl(queue->number(), request, argument) < 0) return LastError(syscall);
    return Done{};
  });
}

Napi::Value TunSetPersist(const Napi::CallbackInfo& info) {
  const bool persist = info[1].As<Napi::Boolean>().Value();
  return Control(info, TUNSETPERSIST, persist ? 1 : 0, "ioctl(TUNSETPERSIST)");
}

Napi::Value TunSetOffload(const Napi::CallbackInfo& info) {
  return Control(info, TUNSETOFFLOAD, info[1].As<Napi::Number>().Uint32Value(), "ioctl(TUNSETOFFLOAD)");
}

Napi::Value TunSetVnetHeaderSize(const Napi::CallbackInfo& info) {
  const SharedFile queue = FileArgument(info, 0);
  const int size = info[1].As<Napi::Number>().Int32Value();
  if (!queue) return RejectedPromise(info, Failure{EBADF, "ioctl(TUNSETVNETHDRSZ)"});
  return RunAsync<Done>(info, [queue, size](StopSignal) -> Result<Done> {
    if (ioctl(queue->number(), TUNSETVNETHDRSZ, &size) < 0) return LastError("ioctl(TUNSETVNETHDRSZ)");
    return Done{};
  });
}

Napi::Value TunSetQueue(const Napi::CallbackInfo& info) {
  const SharedFile queue = FileArgument(info, 0);
  const bool attached = info[1].As<Napi::Boolean>().Value();
  if (!queue) return RejectedPromise(info, Failure{EBADF, "ioctl(TUNSETQUEUE)"});
  return RunAsync<Done>(info, [queue, attached](StopSignal) -> Result<Done> {
    ifreq request{};
    request.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    if (ioctl(queue->number(), TUNSETQUEUE, &request) < 0) return LastError("ioctl(TUNSETQUEUE)");
    return Done{};
  });
}

ssize_t ReadFrame(int descriptor, std::byte* into, std::size_t room) {
  const ssize_t length = read(descriptor, into, room);
  return length < 0 ? -errno : length;
}

napi_value ReadTun(napi_env env, napi_callback_info info) {
  return ReadDatagrams(env, info, kLargestFrame, ReadFrame);
}

}  // namespace

napi_value ToValue(Environment&, napi_env env, TunInfo info) { return ToObject(env, info); }

napi_value ToValue(Environment& environment, napi_env env, TunDevice device) {
  Napi::Array queues = Napi::Array::New(env, device.queues.size());
  for (std::uint32_t index = 0; index < device.queues.size(); ++index) {
    napi_value queue = MakeDescriptor(env, environment.descriptors, std::move(device.queues[index]));
    if (queue == nullptr) return nullptr;
    queues.Set(index, queue);
  }
  Napi::Object result = ToObject(env, device.info);
  result.Set("queues", queues);
  return result;
}

void DefineTun(Exports& exports) {
  exports.Define<TunOpen>("tunOpen");
  exports.Define<TunInfoOf>("tunInfo");
  exports.Define<TunFeatures>("tunFeatures");
  exports.Define<TunSetPersist>("tunSetPersist");
  exports.Define<TunSetOffload>("tunSetOffload");
  exports.Define<TunSetVnetHeaderSize>("tunSetVnetHeaderSize");
  exports.Define<TunSetQueue>("tunSetQueue");
  exports.Define("readTun", ReadTun);
}

}  // namespace podtap
