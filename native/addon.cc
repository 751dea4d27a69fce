#include "bpf.h"
#include "datagrams.h"
#include "descriptor.h"
#include "environment.h"
#include "lock.h"
#include "macvtap.h"
#include "netlink.h"
#include "netns.h"
#include "packet.h"
#include "poller.h"
#include "socket.h"
#include "sysctl.h"
#include "tun.h"

// The functions of `NativeAddon` in lib/native.ts, room by room.

NAPI_MODULE_INIT() {
  podtap::Environment* const environment = podtap::Environment::Create(env);
  if (environment == nullptr) return nullptr;
  podtap::Exports all{env, exports, environment};
  podtap::DefineDescriptor(all);
  podtap::DefinePoller(all);
  podtap::DefineDatagrams(all);
  podtap::DefineNetns(all);
  podtap::DefineSysctl(all);
  podtap::DefineSocket(all);
  podtap::DefineNetlink(all);
  podtap::DefineTun(all);
  podtap::DefineMacvtap(all);
  podtap::DefinePacket(all);
  podtap::DefineLock(all);
  podtap::DefineBpf(all);
  return exports;
}
