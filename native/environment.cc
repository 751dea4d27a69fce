#include "environment.h"

namespace podtap {

Environment* Environment::Create(napi_env env) {
  auto environment = std::make_unique<Environment>();
  const napi_finalize drop = [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); };
  const auto stop = [](void* data) { static_cast<Environment*>(data)->Stop(); };
  if (environment->delivery.Open(env) != napi_ok ||
      napi_set_instance_data(env, environment.get(), drop, nullptr) != napi_ok) {
    Throw(env, Failure{ENOMEM, "napi_create_threadsafe_function"});
    return nullptr;
  }
  Environment* const owned = environment.release();
  // Hooks run last in, first out: registered after the threadsafe function was made, this one runs before that
  // function is torn down, while threads of ours may still call it.
  if (napi_add_env_cleanup_hook(env, stop, owned) != napi_ok) {
    Throw(env, Failure{ENOMEM, "napi_add_env_cleanup_hook"});
    return nullptr;
  }
  return owned;
}

void Environment::Stop() {
  executor.Stop();
  poller.Stop();
  delivery.Close();
  const DescriptorSet open = std::exchange(*descriptors, {});
  for (Descriptor* descriptor : open) descriptor->file.reset();
}

void Exports::Define(const char* name, napi_callback callback) {
  napi_value function = nullptr;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, environment, &function) == napi_ok) {
    napi_set_named_property(env, object, name, function);
  }
}

napi_value ToValue(Environment&, napi_env env, Done) { return MakeUndefined(env); }

napi_value ToValue(Environment&, napi_env env, std::uint32_t result) { return MakeUnsigned(env, result); }

napi_value ToValue(Environment&, napi_env env, std::string result) { return MakeText(env, result); }

napi_value ToValue(Environment& environment, napi_env env, UniqueFd result) {
  return MakeDescriptor(env, environment.descriptors, std::move(result));
}

}  // namespace podtap
