// http_worker.cpp: one thread's loop: starts requests, reads answers, keeps deadlines.
#include "loadtest/http_worker.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <span>
#include <utility>

#include "base/error.h"
#include "http/redirect.h"

namespace mcp::loadtest {
namespace {

constexpr std::uint32_t kStopEvent = UINT32_MAX;
constexpr std::size_t kBufferBytes = 64 << 10;
constexpr int kMostHops = 5;
constexpr int kMostRefusals = 3;  // of one request by an HTTP/2 peer, before it has failed
constexpr Duration kLookInterval = 5 * kMillisecond;
// A generator that came round this much too late did not run.
constexpr Duration kPause = 20 * kMillisecond;
constexpr int kBodiesToKeep = 100;
constexpr std::size_t kExampleBytes = 200;

std::uint32_t share_of(int total, int shares, int number) {
  return static_cast<std::uint32_t>(total / shares + (number < total % shares ? 1 : 0));
}

// Threads, of all processes of the run.
std::uint64_t generators_of(const HttpOptions& options) noexcept {
  return static_cast<std::uint64_t>(options.threads) * options.shares;
}

std::uint64_t generator_number(const HttpOptions& options, int thread) noexcept {
  return static_cast<std::uint64_t>(thread) * options.shares + options.share;
}

std::optional<Pacer> make_pacer(const HttpOptions& options, int number) {
  if (!options.rate) return std::nullopt;
  return Pacer(*options.rate, options.arrivals, options.seed, generators_of(options),
               generator_number(options, number));
}

// epoll_wait to the nanosecond where the kernel has it (5.11), else to the millisecond above.
int wait(int epoll, std::span<epoll_event> events, Duration timeout_ns) {
  static std::atomic<bool> has_pwait2{true};
  const int most = static_cast<int>(events.size());
  if (has_pwait2.load(std::memory_order_relaxed)) {
    const timespec timeout{timeout_ns / kSecond, timeout_ns % kSecond};
    // Not by glibc's function of that name, which 2.34 has not.
    const auto count = static_cast<int>(
        ::syscall(SYS_epoll_pwait2, epoll, events.data(), most, &timeout, nullptr, 0));
    if (count >= 0 || errno != ENOSYS) return count;
    has_pwait2.store(false, std::memory_order_relaxed);
  }
  const Duration ms = (timeout_ns + kMillisecond - 1) / kMillisecond;
  return ::epoll_wait(epoll, events.data(), most, static_cast<int>(std::min<Duration>(ms, 1000)));
}

std::string_view method_of(std::string_view request) noexcept {
  return request.substr(0, request.find(' '));
}

// Timers of this thread are as sharp as the kernel can make them, while it lives.
class SharpTimers {
 public:
  SharpTimers() : before_(::prctl(PR_GET_TIMERSLACK)) { ::prctl(PR_SET_TIMERSLACK, 1UL); }
  ~SharpTimers() {
    if (before_ > 0) ::prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(before_));
  }
  SharpTimers(const SharpTimers&) = delete;
  SharpTimers& operator=(const SharpTimers&) = delete;

 private:
  int before_;
};

}  // namespace

HttpWorker::HttpWorker(const Setup& setup, std::shared_ptr<Totals> totals)
    : options_(setup.options),
      scenario_(setup.scenario),
      connect_(setup.connect),
      control_(setup.control),
      totals_(std::move(totals)),
      stop_fd_(setup.stop_fd),
      number_(setup.number),
      start_(setup.start),
      measure_from_(setup.start + options_.warmup_ns),
      issue_until_(later(measure_from_, options_.duration_ns)),
      cut_at_(later(issue_until_, options_.drain_ns)),
      recorder_(totals_, number_, measure_from_, issue_until_),
      buffer_(kBufferBytes),
      lanes_(static_cast<std::size_t>(share_of(options_.users, options_.threads, number_)) *
             static_cast<std::size_t>(options_.rate ? 1 : options_.batch_size)),
      users_(options_.rate ? 0 : share_of(options_.users, options_.threads, number_)),
      deadlines_(lanes_.size()),
      pacer_(make_pacer(options_, number_)),
      random_(options_.seed + generator_number(options_, number_)),
      users_left_(users_.size()) {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = kStopEvent;
  if (epoll_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_fd_, &event) != 0) {
    const std::string why = http::describe_errno(errno);
    if (epoll_ >= 0) ::close(epoll_);
    throw Error(ErrorKind::kLoadTest, "cannot start a generator: " + why);
  }
  if (options_.http2) http2_.emplace(epoll_, connect_, lanes_.size(), options_.streams);
}

HttpWorker::~HttpWorker() { ::close(epoll_); }

void HttpWorker::run() {
  const SharpTimers sharp;
  if (scenario_.has_users()) {
    for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) {
      lanes_[lane].state = std::make_unique<UserState>(scenario_.make_user(number_here(lane)));
    }
  }
  if (pacer_) {
    for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) idle_.push_back(lane);
    idle_since_ = start_;
    next_due_ = advance_schedule();
  } else {
    const auto per_user = static_cast<std::uint32_t>(options_.batch_size);
    for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) lanes_[lane].user = lane / per_user;
    for (std::uint32_t user = 0; user < users_.size(); ++user) wakes_.push({start_, user});
  }
  loop();
  Report& own = recorder_.own();
  own.generator_cpu_ns = measuring_ ? thread_cpu_time() - cpu_at_start_ : 0;
  own.abandoned = in_flight_;
  if (http2_ && measuring_) own.bytes_sent += http2_->take_bytes_sent();
  for (const Lane& lane : lanes_)
    own.parked_users += lane.opened == 0 && !own.generator_limit.empty();
  recorder_.finish(now_precise());
}

void HttpWorker::loop() {
  std::array<epoll_event, 256> events;
  while (true) {
    const Instant now = now_precise();
    if (control_.stop.load(std::memory_order_relaxed)) {
      stop_issuing(now);
      return;
    }
    if (!measuring_ && now >= measure_from_) start_measuring();
    if (issuing_ && now >= issue_until_) stop_issuing(issue_until_);
    look(now);
    if (now >= cut_at_) return cut_off(now);
    expire(now);
    wake_users(now);
    dispatch(now);
    if (http2_) flush_http2();
    recorder_.roll(now);
    if (finished()) return;
    const Duration timeout = std::clamp<Duration>(next_wake(now) - now, 0, kSecond);
    const int count = wait(epoll_, events, timeout);
    for (int i = 0; i < count; ++i) {
      if (events[static_cast<std::size_t>(i)].data.u32 == kStopEvent) continue;
      handle(events[static_cast<std::size_t>(i)].data.u32,
             events[static_cast<std::size_t>(i)].events);
    }
    if (completed_ > 0) totals_->completed.fetch_add(std::exchange(completed_, 0));
    if (failures_ > 0) totals_->failures.fetch_add(std::exchange(failures_, 0));
  }
}

void HttpWorker::start_measuring() {
  measuring_ = true;
  cpu_at_start_ = thread_cpu_time();
  if (http2_) static_cast<void>(http2_->take_bytes_sent());
}

Instant HttpWorker::next_wake(Instant now) const {
  Instant wake = std::min({deadlines_.front_at(), recorder_.next_roll(), next_look_});
  if (!wakes_.empty()) wake = std::min(wake, wakes_.top().first);
  if (pacer_ && !idle_.empty()) wake = std::min(wake, next_due_);
  if (issuing_) wake = std::min(wake, issue_until_);
  return std::max(wake, now);
}

bool HttpWorker::finished() const {
  return in_flight_ == 0 && users_left_ == 0 && next_due_ == kNever;
}

// From here on only what is in flight is waited for. What was due by `now` and still waits for a
// free user is counted as not sent.
void HttpWorker::stop_issuing(Instant now) {
  issuing_ = false;
  while (!wakes_.empty()) wakes_.pop();
  for (User& user : users_) user.done = user.done || user.outstanding == 0;
  users_left_ = static_cast<std::size_t>(
      std::count_if(users_.begin(), users_.end(), [](const User& user) { return !user.done; }));
  const std::uint64_t given = control_.tickets.load();
  std::uint64_t room = options_.requests - std::min(options_.requests, given);
  for (; next_due_ != kNever && next_due_ < now && room > 0; --room) {
    ++recorder_.own().not_sent;
    next_due_ = advance_schedule();
  }
  next_due_ = kNever;
}

void HttpWorker::expire(Instant now) {
  while (deadlines_.front_at() <= now) {
    const std::uint32_t index = deadlines_.front();
    const bool up = http2_ ? http2_->is_up(index) : lanes_[index].connection.is_connected();
    give_up(index, up ? "timeout" : "connect timeout", deadlines_.front_at(), now);
  }
}

// The end of the run at the latest: what has not been answered by now never was.
void HttpWorker::cut_off(Instant now) {
  while (in_flight_ > 0) give_up(deadlines_.front(), kUnanswered, now, now);
}

// The lane's request has run out of time.
void HttpWorker::give_up(std::uint32_t index, std::string_view why, Instant at, Instant now) {
  Lane& lane = lanes_[index];
  if (http2_) {
    // What came shortly after this was sent answered those before it.
    http2_->cancel(index, lane.sent + (now - lane.sent) / 2);
  } else {
    lane.connection.close();
  }
  fail(index, why, true, at);
  end(index, now);
}

// How late the generator comes round is what it can have added to the time of an answer.
void HttpWorker::look(Instant now) {
  if (now < next_look_) return;
  if (next_look_ > measure_from_) {
    recorder_.looked_late(now - next_look_);
    if (now - next_look_ >= kPause) recorder_.paused(now - next_look_);
  }
  next_look_ = now + kLookInterval;
}

void HttpWorker::handle(std::uint32_t index, std::uint32_t events) {
  const bool hung_up = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  if (http2_) {
    http2_->handle(index, buffer_, hung_up);
    take_outcomes();
    return;
  }
  Lane& lane = lanes_[index];
  if (!lane.in_flight) {
    if (lane.connection.is_open() && !lane.connection.still_usable()) {
      lane.connection.close();
      lane.given_up = true;
    }
    return;
  }
  const bool was_connected = lane.connection.is_connected();
  const auto progress = lane.connection.advance(buffer_, hung_up);
  if (!was_connected && lane.connection.is_connected()) {
    const Instant up = lane.connection.up_at();
    note_connected(lane, up - lane.opened, up);
  }
  if (progress == http::Connection::Progress::kComplete) {
    complete(index);
  } else if (progress == http::Connection::Progress::kPending && has_heard_enough(lane)) {
    complete(index, false);
  } else if (progress == http::Connection::Progress::kFailed) {
    lane.given_up = lane.connection.was_given_up();
    const bool harmless =
        lane.connection.bytes_sent() == 0 || http::is_idempotent(method_of(lane.bytes));
    if (lane.given_up && harmless && send_again(index, 1)) return;
    if (!was_connected && !pacer_) ++users_[lane.user].refusals;
    const Instant now = now_precise();
    fail(index, lane.connection.failure(), false, now);
    end(index, now);
  }
}

void HttpWorker::take_outcomes() {
  for (const auto& [first, last, opened, up] : http2_->came_up()) {
    recorder_.connected(up - opened);
    for (std::uint32_t index = first; index < last; ++index) {
      if (lanes_[index].in_flight) note_connected(lanes_[index], -1, up);
    }
  }
  http2_->came_up().clear();
  outcomes_.clear();
  outcomes_.swap(http2_->outcomes());
  // Those that have waited already go before the requests that follow the answers.
  std::erase_if(outcomes_, [this](const auto& outcome) { return repeat(outcome); });
  for (const Http2Lines::Outcome& outcome : outcomes_) {
    if (outcome.how == http::Http2Session::End::kComplete) {
      complete(outcome.lane);
      continue;
    }
    if (!outcome.was_up && !pacer_) ++users_[lanes_[outcome.lane].user].refusals;
    const Instant now = now_precise();
    fail(outcome.lane, http2_->stream(outcome.lane).response.error(), false, now);
    end(outcome.lane, now);
  }
}

// True: the request is under way once more. A connection that answered some before it took no more
// has brought the run forward, so that there is no end to be put to that.
bool HttpWorker::repeat(const Http2Lines::Outcome& outcome) {
  using End = http::Http2Session::End;
  if (outcome.how == End::kComplete || outcome.how == End::kFailed || !outcome.was_up) return false;
  lanes_[outcome.lane].given_up = true;
  if (outcome.how == End::kGivenUp) {
    return http::is_idempotent(method_of(lanes_[outcome.lane].bytes)) &&
           send_again(outcome.lane, 1);
  }
  const bool forward = outcome.how == End::kUnprocessed && outcome.answered;
  return send_again(outcome.lane, forward ? INT_MAX : kMostRefusals);
}

// What is written here may end streams, and those that end start others.
void HttpWorker::flush_http2() {
  do {
    http2_->flush();
    take_outcomes();
  } while (http2_->wants_flush());
}

void HttpWorker::count_sent(Lane& lane) {
  const std::uint64_t sent = lane.connection.take_bytes_sent();
  if (lane.number < kWarmupNumber) recorder_.own().bytes_sent += sent;
}

// The first connection of a lane is the price of starting the run, told apart; later ones are part
// of the request that needed them. `took` below 0: told already.
void HttpWorker::note_connected(Lane& lane, Duration took, Instant up) {
  if (took >= 0) recorder_.connected(took);
  if (!lane.was_up && !pacer_) lane.sent = lane.intended = up;
  lane.was_up = true;
  if (!pacer_) users_[lane.user].refusals = 0;
}

bool HttpWorker::take_number(Instant now, std::uint64_t& number) {
  if (!issuing_) return false;
  if (now < measure_from_) {
    const std::uint64_t ticket = control_.warmup_tickets.fetch_add(1, std::memory_order_relaxed);
    number = kWarmupNumber | (ticket * options_.shares + options_.share);
    return true;
  }
  if (!returned_.empty()) {
    number = returned_.back();
    returned_.pop_back();
    return true;
  }
  const std::uint64_t ticket = control_.tickets.fetch_add(1, std::memory_order_relaxed);
  number = ticket * options_.shares + options_.share;
  return ticket < options_.requests;
}

// 0, or the errno of what failed.
int HttpWorker::open_connection(std::uint32_t index) {
  Lane& lane = lanes_[index];
  lane.opened = now_precise();
  if (const int code = lane.connection.open(connect_); code != 0) return code;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u32 = index;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, lane.connection.fd(), &event) != 0) {
    const int code = errno;
    lane.connection.close();
    return code;
  }
  return 0;
}

// 0, or the errno of what failed. `bytes` stay alive while the lane is in flight.
int HttpWorker::transmit(std::uint32_t index, std::string_view bytes, bool is_head) {
  Lane& lane = lanes_[index];
  lane.bytes = bytes;
  lane.is_head = is_head;
  const bool wanted = bodies_to_keep_ > 0 && bodies_to_keep_-- > 0;
  const http::Keep keep = std::max(scenario_.kinds()[lane.choice.kind].keep,
                                   wanted ? http::Keep::kBody : http::Keep::kNothing);
  if (http2_) {
    if (const int code = http2_->send(index, bytes, is_head, keep); code != 0) return code;
    if (lane.opened == 0) lane.opened = lane.sent;
    lane.was_up = lane.was_up || http2_->is_up(index);
  } else {
    count_sent(lane);
    if (lane.suspect && lane.connection.is_open() && !http::is_idempotent(method_of(bytes))) {
      lane.connection.close();
      lane.given_up = true;
    }
    lane.suspect = false;
    if (!lane.connection.is_open()) {
      if (const int code = open_connection(index); code != 0) return code;
    }
    lane.connection.begin(bytes, is_head, keep);
    if (lane.connection.is_connected()) lane.connection.send_now();
  }
  if (std::exchange(lane.given_up, false) && lane.number < kWarmupNumber) {
    ++recorder_.own().reconnects;
  }
  return 0;
}

// True: the lane's request is under way once more.
bool HttpWorker::send_again(std::uint32_t index, int most) {
  Lane& lane = lanes_[index];
  if (lane.resent >= most) return false;
  ++lane.resent;
  lane.received += bytes_of(index);
  return transmit(index, lane.bytes, lane.is_head) == 0;
}

HttpWorker::Start HttpWorker::start(std::uint32_t index, Instant intended, Instant now) {
  Lane& lane = lanes_[index];
  if (!take_number(now, lane.number)) return Start::kOutOfTickets;
  lane.choice =
      lane.state ? scenario_.choose(lane.number, *lane.state) : scenario_.choose(lane.number);
  lane.intended = intended;
  lane.sent = now;
  lane.hops = 0;
  lane.resent = 0;
  lane.received = 0;
  recorder_.started(now);
  const auto bytes = request_of(lane, now);
  if (!bytes) {
    fail(index, lane.own_bytes, false, now);
    return Start::kFailed;
  }
  const int code = transmit(index, *bytes, scenario_.prepared(lane.choice).is_head);
  if (code == 0) {
    lane.in_flight = true;
    ++in_flight_;
    deadlines_.push(index, later(now, options_.timeout_ns));
    return Start::kSent;
  }
  if (http::is_generator_limit(code)) {
    recorder_.own().generator_limit =
        http::describe_errno(code).substr(std::strlen("generator-limited: "));
    lane.opened = 0;
    // Others can carry it; when nobody can, it fails like any request.
    if (in_flight_ > 0) {
      if (lane.number < kWarmupNumber) returned_.push_back(lane.number);
      recorder_.withdrawn();
      return Start::kGeneratorLimited;
    }
  }
  fail(index, http::describe_errno(code), false, now_precise());
  return Start::kFailed;
}

// The bytes of the lane's request; nothing where its user lacks a value, and own_bytes says which.
std::optional<std::string_view> HttpWorker::request_of(Lane& lane, Instant now) {
  const PreparedRequest& prepared = scenario_.prepared(lane.choice);
  if (lane.state) {
    const bool whole = scenario_.write(lane.choice, *lane.state, lane.number, options_.use_tls, now,
                                       lane.own_bytes);
    return whole ? std::optional<std::string_view>(lane.own_bytes) : std::nullopt;
  }
  if (prepared.slots.empty()) return prepared.bytes;
  lane.own_bytes = prepared.bytes;
  scenario_.fill(lane.own_bytes, prepared.slots, lane.number & ~kWarmupNumber);
  return lane.own_bytes;
}

const http::Response& HttpWorker::response_of(std::uint32_t index) const {
  return http2_ ? http2_->stream(index).response : lanes_[index].connection.response();
}

std::uint64_t HttpWorker::bytes_of(std::uint32_t index) const {
  return http2_ ? http2_->stream(index).bytes_received : lanes_[index].connection.bytes_received();
}

Instant HttpWorker::last_byte_of(std::uint32_t index) const {
  return http2_ ? http2_->stream(index).last_byte_at : lanes_[index].connection.last_byte_at();
}

// Of a stream of events that need not end.
bool HttpWorker::has_heard_enough(const Lane& lane) const {
  const std::size_t events = scenario_.kinds()[lane.choice.kind].expectation.events;
  return events > 0 && count_events(lane.connection.response().body()) >= events;
}

void HttpWorker::complete(std::uint32_t index, bool whole) {
  Lane& lane = lanes_[index];
  const http::Response& response = response_of(index);
  const Instant done = last_byte_of(index);
  if (!whole) {
    lane.connection.close();
  } else if (!http2_ && !lane.connection.is_reusable()) {
    lane.given_up = response.keep_alive();
    lane.connection.close();
  }
  lane.suspect = response.status() >= 500;
  if (lane.state) scenario_.take_cookies(response, *lane.state, done);
  if (options_.follow_redirects && http::is_redirect(response.status()) &&
      !response.location().empty()) {
    if (follow_redirect(index)) return;
    end(index, done);
    return;
  }
  const std::string failure = scenario_.judge(lane.choice.kind, response, lane.state.get());
  if (failure.empty()) {
    recorder_.success(sample_of(index, done));
    ++completed_;
  } else {
    fail(index, failure, false, done, response.body());
  }
  end(index, done);
}

// True: the lane is in flight again. False: it has failed.
bool HttpWorker::follow_redirect(std::uint32_t index) {
  Lane& lane = lanes_[index];
  const http::Response& response = response_of(index);
  const Instant done = last_byte_of(index);
  if (lane.state && lane.hops == 0) scenario_.recall(lane.choice, *lane.state);
  const http::Message& message =
      lane.state ? lane.state->message : scenario_.prepared(lane.choice).message;
  const auto target = http::same_origin_target(response.location(), message.target,
                                               {options_.use_tls, options_.host, options_.port});
  if (!target || ++lane.hops > kMostHops) {
    fail(index, target ? "too many redirects" : "off-host redirect refused", false, done);
    return false;
  }
  lane.received += bytes_of(index);
  http::Message next = http::redirected(message, response.status(), *target);
  const bool is_head = next.method == "HEAD";
  if (lane.state) {
    lane.state->message = std::move(next);
    lane.own_bytes = scenario_.serialize(*lane.state, options_.use_tls, done);
  } else {
    lane.own_bytes = http::serialize(next, scenario_.authority());
  }
  scenario_.fill(lane.own_bytes, find_slots(lane.own_bytes), lane.number & ~kWarmupNumber);
  const int code = transmit(index, lane.own_bytes, is_head);
  if (code == 0) return true;
  fail(index, http::describe_errno(code), false, done);
  return false;
}

Sample HttpWorker::sample_of(std::uint32_t index, Instant done) const {
  const Lane& lane = lanes_[index];
  const Instant first =
      http2_ ? http2_->stream(index).first_byte_at : lane.connection.first_byte_at();
  return {lane.choice.kind,
          lane.intended,
          lane.sent,
          done,
          first == 0 ? -1 : first - lane.sent,
          lane.received + bytes_of(index)};
}

// `body` is empty where it was not kept: then that of one of the next answers is the example.
void HttpWorker::fail(std::uint32_t index, std::string_view error, bool timed_out, Instant done,
                      std::optional<std::string_view> body) {
  if (body && body->empty() && !recorder_.own().errors.contains(error)) {
    bodies_to_keep_ = kBodiesToKeep;
  }
  recorder_.failure(sample_of(index, done), error, timed_out,
                    body.value_or("").substr(0, kExampleBytes));
  ++completed_;
  ++failures_;
}

// The lane's request is over, one way or the other.
void HttpWorker::end(std::uint32_t index, Instant now) {
  Lane& lane = lanes_[index];
  count_sent(lane);
  deadlines_.remove(index);
  lane.in_flight = false;
  --in_flight_;
  if (pacer_) {
    if (idle_.empty()) idle_since_ = now;
    idle_.push_back(index);
    dispatch(now);
  } else if (--users_[lane.user].outstanding == 0) {
    user_is_free(lane.user, now);
  }
}

}  // namespace mcp::loadtest
