// segment.h: the figures of all workers of a service, in one file of a fixed size that each of them
// maps.
//
// A worker holds a lock on the byte of its slot, which ends with it, however it ends. A slot
// without its worker goes on counting until it is folded into the retired figures, of which there
// are two: a fold writes the other one and then turns the header, so that a killed fold has done
// nothing. Only folding, taking a slot and looking at all of them take the lock on the file. The
// file starts anew when no worker is alive and the process that started it has gone. Safe from any
// thread. After fork() the child has to open a Segment of its own and drop this one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "metrics/slot.h"

namespace mcp::metrics {

struct WorkerFigures {
  SlotFigures figures;
  int number = -1;  // of its slot; -1: all that have ended and were folded
  bool alive = false;
};

class Segment {
 public:
  static constexpr std::size_t kWorkers = 32;
  // Of the file. What no worker has used yet takes no memory: about 2 MiB a worker does.
  static const std::size_t kBytes;

  // Takes a slot and folds those whose workers have ended. Throws Error (kConfiguration) if the
  // file cannot be used, is another user's, or has no free slot.
  Segment(std::filesystem::path path, Instant now);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  [[nodiscard]] Slot& slot() const noexcept;
  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  // Everything that was counted, each piece once.
  [[nodiscard]] std::vector<WorkerFigures> read() const EXCLUDES(mutex_);

  // Removes the files in `directory` that start with `prefix` and that nobody uses or started.
  static void sweep(const std::filesystem::path& directory, const std::string& prefix);

 private:
  struct Layout;

  void open_file();
  void start();
  void fold_ended();
  void take_slot(Instant now);

  std::filesystem::path path_;
  int file_ = -1;
  Layout* layout_ = nullptr;
  int number_ = -1;
  mutable Mutex mutex_;  // a lock on the file is this object's, whichever thread takes it
};

}  // namespace mcp::metrics
