#pragma once

namespace podtap {

struct Exports;
void DefineLock(Exports& exports);

}  // namespace podtap
