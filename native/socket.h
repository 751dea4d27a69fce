#pragma once

#include <cstdint>

#include "failure.h"

namespace podtap {

/** SO_RCVBUFFORCE, which passes net.core.rmem_max but needs CAP_NET_ADMIN in the first user namespace; else SO_RCVBUF. */
Result<Done> SetReceiveBuffer(int socket, std::uint32_t bytes);

/** Sets an option of type int. */
Result<Done> SetOption(int socket, int level, int option, int value, const char* syscall);

struct Exports;
void DefineSocket(Exports& exports);

}  // namespace podtap
