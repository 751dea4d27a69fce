#include "descriptor.h"

#include <fcntl.h>

#include "environment.h"

namespace podtap {
namespace {

Napi::Value Close(const Napi::CallbackInfo& info) {
  Descriptor* const descriptor = ToDescriptor(info.Env(), info[0]);
  const SharedFile file = descriptor == nullptr ? nullptr : descriptor->Detach();
  if (file) EnvironmentOf(info).poller.Cancel(*file);
  return info.Env().Undefined();
}

/**
 * Off the JavaScript thread: the last queue of a TAP that is not persistent takes the device with it, and a packet socket waits until no
 * processor looks at it any more: 14 ms of RCU waits.
 */
Napi::Value CloseSlowly(const Napi::CallbackInfo& info) {
  Descriptor* const descriptor = ToDescriptor(info.Env(), info[0]);
  SharedFile file = descriptor == nullptr ? nullptr : descriptor->Detach();
  if (file) EnvironmentOf(info).poller.Cancel(*file);
  return RunAsync<Done>(info, [file = std::move(file)](StopSignal) mutable -> Result<Done> {
    file.reset();
    return Done{};
  });
}

Napi::Value Number(const Napi::CallbackInfo& info) {
  const SharedFile file = FileArgument(info, 0);
  return Napi::Number::New(info.Env(), file ? file->number() : -1);
}

Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  const SharedFile file = FileArgument(info, 0);
  const int number = fcntl(file ? file->number() : -1, F_DUPFD_CLOEXEC, 3);
  if (number < 0) return Napi::Value(info.Env(), Throw(info.Env(), LastError("fcntl(F_DUPFD_CLOEXEC)")));
  return Napi::Number::New(info.Env(), number);
}

Napi::Value Adopt(const Napi::CallbackInfo& info) {
  UniqueFd fd(fcntl(ReadSigned(info.Env(), info[0]), F_DUPFD_CLOEXEC, 3));
  if (!fd.valid()) return Napi::Value(info.Env(), Throw(info.Env(), LastError("fcntl(F_DUPFD_CLOEXEC)")));
  return Napi::Value(info.Env(), MakeDescriptor(info.Env(), EnvironmentOf(info).descriptors, std::move(fd)));
}

Napi::Value CloseNumber(const Napi::CallbackInfo& info) {
  if (close(ReadSigned(info.Env(), info[0])) < 0 && errno != EINTR) {
    return Napi::Value(info.Env(), Throw(info.Env(), LastError("close")));
  }
  return info.Env().Undefined();
}

Napi::Value Release(const Napi::CallbackInfo& info) {
  Descriptor* const descriptor = ToDescriptor(info.Env(), info[0]);
  const SharedFile file = descriptor == nullptr ? nullptr : descriptor->Detach();
  if (!file) return Napi::Value(info.Env(), Throw(info.Env(), Failure{EBADF, "release"}));
  EnvironmentOf(info).poller.Cancel(*file);
  if (file.use_count() == 1) return Napi::Number::New(info.Env(), file->release());
  // Work under way still needs this number, so the caller gets another one for the same open file.
  const int number = fcntl(file->number(), F_DUPFD_CLOEXEC, 3);
  if (number < 0) return Napi::Value(info.Env(), Throw(info.Env(), LastError("fcntl(F_DUPFD_CLOEXEC)")));
  return Napi::Number::New(info.Env(), number);
}

Napi::Value OpenDescriptors(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(EnvironmentOf(info).descriptors->size()));
}

}  // namespace

SharedFile Descriptor::Detach() {
  if (const std::shared_ptr<DescriptorSet> open = set.lock()) open->erase(this);
  return std::exchange(file, nullptr);
}

napi_value MakeDescriptor(napi_env env, const std::shared_ptr<DescriptorSet>& set, UniqueFd fd) {
  const napi_finalize collect = [](napi_env, void* data, void*) {
    const std::unique_ptr<Descriptor> descriptor(static_cast<Descriptor*>(data));
    descriptor->Detach();
  };
  auto descriptor = std::make_unique<Descriptor>(std::make_shared<OpenFile>(std::move(fd)), set);
  napi_value external = nullptr;
  if (napi_create_external(env, descriptor.get(), collect, nullptr, &external) != napi_ok) return nullptr;
  set->insert(descriptor.release());
  return external;
}

Descriptor* ToDescriptor(napi_env env, napi_value value) {
  void* data = nullptr;
  napi_valuetype type = napi_undefined;
  if (value == nullptr || napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  if (napi_get_value_external(env, value, &data) != napi_ok) return nullptr;
  return static_cast<Descriptor*>(data);
}

SharedFile ToFile(napi_env env, napi_value value) {
  const Descriptor* const descriptor = ToDescriptor(env, value);
  return descriptor == nullptr ? nullptr : descriptor->file;
}

void DefineDescriptor(Exports& exports) {
  exports.Define<Close>("close");
  exports.Define<CloseSlowly>("closeSlowly");
  exports.Define<Number>("number");
  exports.Define<Duplicate>("duplicate");
  exports.Define<Adopt>("adopt");
  exports.Define<Release>("release");
  exports.Define<CloseNumber>("closeNumber");
  exports.Define<OpenDescriptors>("openDescriptors");
}

}  // namespace podtap
