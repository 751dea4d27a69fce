#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>

#include <node_api.h>

#include "executor.h"
#include "failure.h"
#include "unique_fd.h"

namespace podtap {

/**
 * An open file as work sees it. Whoever uses the number holds a share, so the number is not reused under its feet
 * when JavaScript closes the descriptor meanwhile; the last share closes the file.
 */
class OpenFile {
 public:
  explicit OpenFile(UniqueFd fd) : fd_(std::move(fd)) {}

  int number() const { return fd_.get(); }
  int release() { return fd_.release(); }

  /** Keeps the netlink requests of one socket in order. */
  Strand strand;

  /** The last nlmsg_seq sent; belongs to the task that runs in the strand. */
  std::uint32_t sequence = 0;

  /**
   * The kernel reports some errors once (ENOBUFS, ENETDOWN: sk_err is cleared by the report). One met behind
   * datagrams that could be read is kept here for the next read. JavaScript thread only.
   */
  int pendingError = 0;

  /** What belongs to the file and ends with it: the ring of a packet socket. */
  std::shared_ptr<void> companion;

 private:
  UniqueFd fd_;
};

using SharedFile = std::shared_ptr<OpenFile>;

struct Descriptor;

/** The descriptors that are open in one environment. JavaScript thread only. */
using DescriptorSet = std::unordered_set<Descriptor*>;

/** What a `Descriptor` of lib/native.ts, a napi External, points to. */
struct Descriptor {
  SharedFile file;                   // null once closed
  std::weak_ptr<DescriptorSet> set;  // finalizers may run after the environment's own state is gone

  /** Forgets the file and hands over this share of it. */
  SharedFile Detach();
};

/** A new External that owns `fd`. Null with a pending exception on failure, and the file closed. */
napi_value MakeDescriptor(napi_env env, const std::shared_ptr<DescriptorSet>& set, UniqueFd fd);

/** Null where `value` is no External. */
Descriptor* ToDescriptor(napi_env env, napi_value value);

/** The open file, or null: closed, or no descriptor at all. */
SharedFile ToFile(napi_env env, napi_value value);

struct Exports;
void DefineDescriptor(Exports& exports);

}  // namespace podtap
