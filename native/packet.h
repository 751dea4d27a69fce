#pragma once

namespace podtap {

struct Exports;
void DefinePacket(Exports& exports);

}  // namespace podtap
