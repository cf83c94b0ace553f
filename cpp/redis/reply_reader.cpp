// reply_reader.cpp: hiredis' callbacks, with a budget for each reply.
#include "redis/reply_reader.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <charconv>
#include <new>
#include <utility>

namespace mcp::redis {

// What the reply under construction may still take.
struct ReplyReader::Budget {
  ReplyLimits limits;
  std::size_t bytes = 0;
  std::size_t elements = 0;
  bool exceeded = false;

  bool take_bytes(std::size_t count) noexcept {
    exceeded = exceeded || count > limits.reply_bytes - bytes;
    if (!exceeded) bytes += count;
    return !exceeded;
  }
  bool take_elements(std::size_t count) noexcept {
    exceeded = exceeded || count > limits.elements - elements;
    if (!exceeded) elements += count;
    return !exceeded;
  }
};

namespace {

#if HIREDIS_MAJOR >= 1
using ElementCount = std::size_t;
#else
using ElementCount = int;
#endif

Error protocol_error(const std::string& what) {
  return {ErrorKind::kProtocol, "redis broke its protocol: " + what};
}

// The place for the item of `task`: a slot of its parent, which was sized before its items came, or
// a new root.
Reply* place(const redisReadTask* task) {
  if (task->parent == nullptr) return new (std::nothrow) Reply;
  return &static_cast<Reply*>(task->parent->obj)->items[static_cast<std::size_t>(task->idx)];
}

void free_root(void* root) { delete static_cast<Reply*>(root); }

Reply::Kind kind_of(int type) noexcept {
  switch (type) {
    case REDIS_REPLY_STRING:
      return Reply::Kind::kString;
    case REDIS_REPLY_STATUS:
      return Reply::Kind::kStatus;
    case REDIS_REPLY_ERROR:
      return Reply::Kind::kError;
    case REDIS_REPLY_INTEGER:
      return Reply::Kind::kInteger;
    case REDIS_REPLY_ARRAY:
      return Reply::Kind::kArray;
    default:
      return Reply::Kind::kNil;
  }
}

// hiredis is C: no exception may pass through it. A null answer stops it with an error.
template <class Fill>
void* make(const redisReadTask* task, Fill&& fill) noexcept {
  Reply* reply = place(task);
  if (reply == nullptr) return nullptr;
  reply->kind = kind_of(task->type);
  try {
    fill(*reply);
  } catch (...) {
    if (task->parent == nullptr) delete reply;
    return nullptr;
  }
  return reply;
}

}  // namespace

ReplyReader::ReplyReader(ReplyLimits limits)
    : limits_(limits), budget_(std::make_unique<Budget>()), reader_(nullptr) {
  budget_->limits = limits;
  static redisReplyObjectFunctions functions = [] {
    redisReplyObjectFunctions table{};
    table.createString = [](const redisReadTask* task, char* text, std::size_t size) -> void* {
      if (!static_cast<Budget*>(task->privdata)->take_bytes(size)) return nullptr;
      return make(task, [&](Reply& reply) { reply.text.assign(text, size); });
    };
    table.createArray = [](const redisReadTask* task, ElementCount count) -> void* {
      if (!static_cast<Budget*>(task->privdata)->take_elements(static_cast<std::size_t>(count))) {
        return nullptr;
      }
      return make(task, [&](Reply& reply) { reply.items.resize(static_cast<std::size_t>(count)); });
    };
    table.createInteger = [](const redisReadTask* task, long long value) -> void* {
      return make(task, [&](Reply& reply) { reply.integer = value; });
    };
    table.createNil = [](const redisReadTask* task) -> void* {
      return make(task, [](Reply& reply) { reply.kind = Reply::Kind::kNil; });
    };
    table.freeObject = &free_root;
    return table;
  }();
  reader_ = redisReaderCreateWithFunctions(&functions);
  if (reader_ == nullptr) throw std::bad_alloc();
  reader_->privdata = budget_.get();
}

ReplyReader::~ReplyReader() { redisReaderFree(reader_); }

void ReplyReader::feed(std::string_view bytes) {
  if (redisReaderFeed(reader_, bytes.data(), bytes.size()) != REDIS_OK) {
    throw protocol_error("its reply does not fit in memory");
  }
}

std::optional<Reply> ReplyReader::next() {
  void* root = nullptr;
  if (redisReaderGetReply(reader_, &root) != REDIS_OK) {
    throw protocol_error(budget_->exceeded ? "a reply larger than the limit"
                                           : std::string(reader_->errstr));
  }
  if (root == nullptr) {
    check_pending();
    return std::nullopt;
  }
  budget_->bytes = budget_->elements = 0;
  const std::unique_ptr<Reply> owned(static_cast<Reply*>(root));
  return std::move(*owned);
}

// hiredis stops in front of an item that is not complete, behind its type. Lines and array headers
// are taken whole, so a line end in what is left belongs to the length of a string.
void ReplyReader::check_pending() const {
  const std::string_view pending(reader_->buf + reader_->pos, reader_->len - reader_->pos);
  const std::size_t end = pending.substr(0, limits_.line_bytes).find("\r\n");
  if (end == std::string_view::npos) {
    if (pending.size() > limits_.line_bytes) throw protocol_error("a line larger than the limit");
    return;
  }
  std::size_t announced = 0;
  const auto [stop, failure] = std::from_chars(pending.data(), pending.data() + end, announced);
  if (failure != std::errc() || stop != pending.data() + end) {
    throw protocol_error("a length that is not a number");
  }
  if (announced > limits_.reply_bytes - budget_->bytes) {
    throw protocol_error("a reply larger than the limit");
  }
}

}  // namespace mcp::redis
