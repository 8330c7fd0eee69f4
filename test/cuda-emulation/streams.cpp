// Streams and events (cuda_runtime.h says what they stand for).
#include <cuda_runtime.h>

#include <deque>

namespace emulation {

struct Stream {
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::deque<Copy> on_their_way;
  std::size_t arrived = 0;

  void arrive(std::size_t upto) {
    for (; arrived < upto; ++arrived) {
      const Copy& copy = on_their_way.front();
      std::memcpy(copy.to, copy.from, copy.bytes);
      on_their_way.pop_front();
    }
  }
  std::size_t given() const { return arrived + on_their_way.size(); }
};

struct Event {
  Stream* stream = nullptr;
  std::size_t after = 0;  // so many of its copies
};

Stream& copies() {
  static Stream stream;
  return stream;
}

cudaError_t copy(void* to, const void* from, std::size_t bytes, Stream* stream) {
  if (stream == nullptr) {
    std::memcpy(to, from, bytes);
  } else {
    std::memset(to, 0xff, bytes);
    stream->on_their_way.push_back({to, from, bytes});
  }
  return cudaSuccess;
}

cudaError_t record(Event* event, Stream* stream) {
  *event = {stream, stream == nullptr ? 0 : stream->given()};
  return cudaSuccess;
}

cudaError_t wait(const Event* event) {
  if (event->stream != nullptr) event->stream->arrive(event->after);
  return cudaSuccess;
}

cudaError_t wait(Stream* stream) {
  if (stream != nullptr) stream->arrive(stream->given());
  return cudaSuccess;
}

Event* make_event() { return new Event; }

void destroy(Event* event) { delete event; }

}  // namespace emulation
