// segment.cpp: maps the file that the workers of a service share, takes and gives back its slots.
#include "metrics/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "metrics/slot_writer.h"

namespace mcp::metrics {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMagic = 0x324d504d50434d00;  // and the version of the layout

Error unusable(const fs::path& path, const std::string& why) {
  return {ErrorKind::kConfiguration, "workers: " + path.string() + ": " + why};
}
Error unusable(const fs::path& path) {
  return unusable(path, std::system_category().message(errno));
}

// Locks of open file descriptions: they belong to the descriptor, and end with its last copy.
struct flock byte_lock(int type, off_t byte) {
  struct flock lock {};
  lock.l_type = static_cast<short>(type);
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

bool try_lock(int file, off_t byte) {
  struct flock lock = byte_lock(F_WRLCK, byte);
  return fcntl(file, F_OFD_SETLK, &lock) == 0;
}

void unlock(int file, off_t byte) {
  struct flock lock = byte_lock(F_UNLCK, byte);
  fcntl(file, F_OFD_SETLK, &lock);
}

// Whether somebody else holds the lock.
bool is_locked(int file, off_t byte) {
  struct flock lock = byte_lock(F_WRLCK, byte);
  return fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// Waits for the lock on the whole file, which is that of its first byte.
void lock_file(int file, int type) {
  struct flock lock = byte_lock(type, 0);
  while (fcntl(file, F_OFD_SETLKW, &lock) != 0 && errno == EINTR) {
  }
}

// Ends a lock that was taken.
class FileLock {
 public:
  explicit FileLock(int file) : file_(file) {}
  ~FileLock() { unlock(file_, 0); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int file_;
};

off_t slot_byte(std::size_t number) { return static_cast<off_t>(number) + 1; }

bool any_alive(int file) {
  for (std::size_t i = 0; i < Segment::kWorkers; ++i) {
    if (is_locked(file, slot_byte(i))) return true;
  }
  return false;
}

// Field 22 of /proc/<pid>/stat tells a process from a later one of the same number; 0 if it is
// gone.
std::uint64_t birth_of(std::uint64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::ostringstream text;
  if (file) text << file.rdbuf();
  const std::string stat = text.str();
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return std::strtoull(field.c_str(), nullptr, 10);
}

void clear(void* memory, std::size_t size) { std::memset(memory, 0, size); }

}  // namespace

struct Segment::Layout {
  struct Header {
    std::uint64_t magic;
    std::uint64_t starter_pid;
    std::uint64_t starter_birth;
    std::atomic<std::uint32_t> current;  // which of `retired` counts
    // By retired figures and slot: the generation that they hold.
    std::array<std::array<Cell, kWorkers>, 2> folded;
  };

  [[nodiscard]] const std::array<Cell, kWorkers>& folded() const noexcept {
    return header.folded[header.current.load(std::memory_order_acquire) % 2];
  }
  [[nodiscard]] bool counts(std::size_t slot) const noexcept {
    return value_of(slots[slot].generation) > value_of(folded()[slot]);
  }

  alignas(4096) Header header;
  alignas(4096) std::array<Slot, 2> retired;
  alignas(4096) std::array<Slot, kWorkers> slots;
};

const std::size_t Segment::kBytes = sizeof(Layout);

Segment::Segment(fs::path path, Instant now) : path_(std::move(path)) {
  try {
    open_file();
    const FileLock lock(file_);
    start();
    fold_ended();
    take_slot(now);
  } catch (...) {
    if (layout_ != nullptr) munmap(layout_, kBytes);
    if (file_ >= 0) close(file_);
    throw;
  }
}

Segment::~Segment() {
  munmap(layout_, kBytes);
  close(file_);
}

Slot& Segment::slot() const noexcept { return layout_->slots[static_cast<std::size_t>(number_)]; }

// Leaves the file locked.
void Segment::open_file() {
  for (;;) {
    file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file_ < 0) throw unusable(path_);
    lock_file(file_, F_WRLCK);
    struct stat opened {};
    struct stat named {};
    if (fstat(file_, &opened) != 0) throw unusable(path_);
    if (!S_ISREG(opened.st_mode) || opened.st_uid != geteuid() || (opened.st_mode & 077) != 0) {
      throw unusable(path_, "not a file of this user alone");
    }
    if (stat(path_.c_str(), &named) == 0 && named.st_ino == opened.st_ino &&
        named.st_dev == opened.st_dev) {
      return;
    }
    close(std::exchange(file_, -1));  // sweep() has removed it meanwhile
  }
}

void Segment::start() {
  struct stat now {};
  if (fstat(file_, &now) != 0) throw unusable(path_);
  const bool whole = static_cast<std::size_t>(now.st_size) == kBytes;
  const bool used = any_alive(file_);
  if (!whole) {
    if (used) throw unusable(path_, "in use by another version of this package");
    if (ftruncate(file_, 0) != 0 || ftruncate(file_, static_cast<off_t>(kBytes)) != 0) {
      throw unusable(path_);
    }
  }
  const auto reserve = [&](std::size_t from, std::size_t size) {
    // Memory that runs out later would end the process at a store.
    if (const int error =
            posix_fallocate(file_, static_cast<off_t>(from), static_cast<off_t>(size))) {
      throw unusable(path_, std::system_category().message(error));
    }
  };
  reserve(0, offsetof(Layout, slots));
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  if (memory == MAP_FAILED) throw unusable(path_);
  madvise(memory, kBytes, MADV_DONTDUMP);
  layout_ = static_cast<Layout*>(memory);
  Layout::Header& header = layout_->header;
  const bool known = header.magic == kMagic;
  if (known && (used || (header.starter_birth != 0 &&
                         birth_of(header.starter_pid) == header.starter_birth))) {
    return;
  }
  if (used) throw unusable(path_, "in use by another version of this package");
  clear(&header, sizeof header);
  clear(layout_->retired.data(), sizeof layout_->retired);
  for (Slot& slot : layout_->slots) slot.generation.store(0, std::memory_order_relaxed);
  header.starter_pid = static_cast<std::uint64_t>(getppid());
  header.starter_birth = birth_of(header.starter_pid);
  std::atomic_thread_fence(std::memory_order_release);
  header.magic = kMagic;
}

// REQUIRES: the lock on the file.
void Segment::fold_ended() {
  std::vector<std::size_t> ended;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    if (layout_->counts(i) && !is_locked(file_, slot_byte(i))) ended.push_back(i);
  }
  if (ended.empty()) return;
  Layout::Header& header = layout_->header;
  const std::uint32_t current = header.current.load(std::memory_order_acquire) % 2;
  Slot& next = layout_->retired[1 - current];
  clear(&next, sizeof next);
  SlotWriter writer(next);
  writer.absorb(read_slot(layout_->retired[current]));
  for (std::size_t i = 0; i < kWorkers; ++i) {
    header.folded[1 - current][i].store(value_of(header.folded[current][i]),
                                        std::memory_order_relaxed);
  }
  for (const std::size_t i : ended) {
    const Slot& slot = layout_->slots[i];
    writer.absorb(read_slot(slot));
    header.folded[1 - current][i].store(value_of(slot.generation), std::memory_order_relaxed);
  }
  header.current.store(1 - current, std::memory_order_release);
}

// REQUIRES: the lock on the file.
void Segment::take_slot(Instant now) {
  for (std::size_t i = 0; i < kWorkers; ++i) {
    if (layout_->counts(i) || !try_lock(file_, slot_byte(i))) continue;
    Slot& slot = layout_->slots[i];
    const auto offset =
        static_cast<off_t>(reinterpret_cast<char*>(&slot) - reinterpret_cast<char*>(layout_));
    if (const int error = posix_fallocate(file_, offset, static_cast<off_t>(sizeof slot))) {
      throw unusable(path_, std::system_category().message(error));
    }
    clear(&slot, sizeof slot);
    slot.pid.store(static_cast<std::uint64_t>(getpid()), std::memory_order_relaxed);
    slot.start_ns.store(static_cast<std::uint64_t>(now), std::memory_order_relaxed);
    slot.generation.store(value_of(layout_->folded()[i]) + 1, std::memory_order_release);
    number_ = static_cast<int>(i);
    return;
  }
  throw unusable(path_, "all " + std::to_string(kWorkers) + " slots have workers");
}

std::vector<WorkerFigures> Segment::read() const {
  const MutexLock guard(mutex_);
  lock_file(file_, F_RDLCK);
  const FileLock lock(file_);
  const std::uint32_t current = layout_->header.current.load(std::memory_order_acquire) % 2;
  std::vector<WorkerFigures> all;
  all.push_back({read_slot(layout_->retired[current]), -1, false});
  for (std::size_t i = 0; i < kWorkers; ++i) {
    if (!layout_->counts(i)) continue;
    const bool alive = static_cast<int>(i) == number_ || is_locked(file_, slot_byte(i));
    all.push_back({read_slot(layout_->slots[i]), static_cast<int>(i), alive});
  }
  return all;
}

void Segment::sweep(const fs::path& directory, const std::string& prefix) {
  std::error_code ignored;
  for (fs::directory_iterator at(directory, ignored), end; at != end; at.increment(ignored)) {
    const fs::path path = at->path();
    if (!path.filename().string().starts_with(prefix)) continue;
    const int file = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) continue;
    if (try_lock(file, 0)) {
      std::array<std::uint64_t, 3> head{};  // magic, and who started it
      const bool read_it = pread(file, head.data(), sizeof head, 0) == sizeof head;
      const bool started = read_it && head[0] == kMagic && birth_of(head[1]) == head[2];
      if (!started && !any_alive(file)) unlink(path.c_str());
    }
    close(file);
  }
}

}  // namespace mcp::metrics
