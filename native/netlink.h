#pragma once

#include <linux/netlink.h>

#include "failure.h"
#include "unique_fd.h"

namespace podtap {

/**
 * A netlink socket of the calling thread's namespace, with extended acknowledgements that do not repeat the request
 * (NETLINK_EXT_ACK, NETLINK_CAP_ACK) and dumps whose filters are taken at their word (NETLINK_GET_STRICT_CHK).
 */
Result<UniqueFd> OpenNetlink(int protocol);

struct Exports;
void DefineNetlink(Exports& exports);

}  // namespace podtap
