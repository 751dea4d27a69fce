{
  "target_defaults": {
    "cflags": ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-fvisibility=hidden"],
    "cflags!": ["-Wno-unused-parameter"],
    # node's own common.gypi asks for an older standard.
    "cflags_cc!": ["-std=gnu++14", "-std=gnu++17", "-std=gnu++1y"],
    "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"]
  },
  "targets": [
    {
      "target_name": "podtap",
      "sources": [
        "native/addon.cc",
        "native/bpf.cc",
        "native/bpf_hook.cc",
        "native/bpf_map.cc",
        "native/datagrams.cc",
        "native/delivery.cc",
        "native/descriptor.cc",
        "native/environment.cc",
        "native/executor.cc",
        "native/failure.cc",
        "native/lock.cc",
        "native/macvtap.cc",
        "native/netlink.cc",
        "native/netlink_exchange.cc",
        "native/netns.cc",
        "native/packet.cc",
        "native/packet_ring.cc",
        "native/poller.cc",
        "native/socket.cc",
        "native/sysctl.cc",
        "native/thread.cc",
        "native/tun.cc",
        "native/tun_device.cc",
        "native/values.cc"
      ],
      # Swallow: in a worker that is being terminated nothing can be thrown, and an attempt would end the process.
      "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      # -isystem: their headers are not held to our warnings.
      "cflags_cc": ["-isystem", "<!(node -p \"require('path').dirname(require.resolve('node-addon-api'))\")"],
      "ldflags": ["-pthread"]
    },
    {
      "target_name": "podtap-launcher",
      "type": "executable",
      "sources": ["native/launcher.c"]
    },
    {
      "target_name": "podtap-unprivileged",
      "type": "executable",
      "sources": ["native/unprivileged.c"]
    }
  ]
}
