#pragma once

namespace podtap {

struct Exports;
void DefineSysctl(Exports& exports);

}  // namespace podtap
