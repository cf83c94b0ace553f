// client.cpp: the Redis client for the tiers. Commands are sequences of bytes, str, int or float;
// replies are bytes, str (statuses), int, None, lists, and exception instances for error replies,
// which the caller raises. A round trip costs tens of microseconds, so pybind11 serves here.
#include "redis/client.h"

#include <pybind11/stl.h>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/fork.h"
#include "bindings/base/errors.h"
#include "bindings/base/fields.h"
#include "bindings/base/rooms.h"
#include "bindings/base/saved_error.h"
#include "bindings/cache/feed_capsule.h"
#include "bindings/loop/bridge.h"
#include "bindings/redis/reads.h"
#include "redis/command.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using redis::Client;
using redis::FillId;
using redis::Outcome;
using redis::Reply;
using redis::Request;

constexpr Duration kSignalPause = 50 * kMillisecond;  // between looks for Ctrl-C

// An open fill, in Python's hands.
class Fill {
 public:
  Fill(std::shared_ptr<Client> client, FillId id) : client_(std::move(client)), id_(id) {}
  Fill(Fill&& other) noexcept
      : client_(std::move(other.client_)),
        id_(std::exchange(other.id_, redis::kNoFill)),
        generation_(other.generation_) {}
  ~Fill() {
    if (generation_ != process_generation()) {
      leave_to_parent(client_);
    } else if (id_ != redis::kNoFill) {
      client_->abandon(id_);
    }
  }
  // Whether keep() would be true now.
  [[nodiscard]] bool holds() const {
    return id_ != redis::kNoFill && generation_ == process_generation() && client_->holds(id_);
  }
  bool keep() {
    if (id_ == redis::kNoFill || generation_ != process_generation()) return false;
    return client_->keep(std::exchange(id_, redis::kNoFill));
  }

 private:
  std::shared_ptr<Client> client_;
  FillId id_;
  std::uint32_t generation_ = process_generation();
};

void append_argument(py::handle argument, std::vector<std::string>& arguments) {
  if (PyBytes_Check(argument.ptr())) {
    arguments.emplace_back(PyBytes_AS_STRING(argument.ptr()),
                           static_cast<std::size_t>(PyBytes_GET_SIZE(argument.ptr())));
  } else if (PyUnicode_Check(argument.ptr())) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(argument.ptr(), &size);
    if (text == nullptr) throw py::error_already_set();
    arguments.emplace_back(text, static_cast<std::size_t>(size));
  } else if (PyBool_Check(argument.ptr()) ||
             !(PyLong_Check(argument.ptr()) || PyFloat_Check(argument.ptr()))) {
    throw py::type_error("a redis argument is bytes, str, int or float, not " +
                         std::string(Py_TYPE(argument.ptr())->tp_name));
  } else {
    arguments.push_back(py::str(py::repr(argument)));
  }
}

using Names = std::vector<std::string>;

Request make_request(const py::sequence& commands, const std::optional<std::string>& fill_key,
                     Names changes) {
  Request request;
  request.commands = 0;
  request.fill_key = fill_key.value_or("");
  request.changes = std::move(changes);
  for (const py::handle command : commands) {
    std::vector<std::string> arguments;
    for (const py::handle argument : py::reinterpret_borrow<py::sequence>(command)) {
      append_argument(argument, arguments);
    }
    if (arguments.empty()) throw py::value_error("a redis command has at least its name");
    const std::vector<std::string_view> views(arguments.begin(), arguments.end());
    redis::append_command(request.bytes, views);
    ++request.commands;
  }
  if (request.commands == 0) throw py::value_error("expected at least one redis command");
  return request;
}

py::object exception_of(const Error& error) {
  set_python_error(error);
  return py::reinterpret_steal<py::object>(take_error().release());
}

py::object to_python(const Reply& reply) {
  switch (reply.kind) {
    case Reply::Kind::kString:
      return py::bytes(reply.text);
    case Reply::Kind::kStatus:
      return py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
          reply.text.data(), static_cast<Py_ssize_t>(reply.text.size()), "replace"));
    case Reply::Kind::kInteger:
      return py::int_(reply.integer);
    case Reply::Kind::kError:
      return exception_of(redis::error_of(reply.text));
    case Reply::Kind::kArray: {
      py::list items(reply.items.size());
      for (std::size_t i = 0; i < reply.items.size(); ++i) items[i] = to_python(reply.items[i]);
      return items;
    }
    case Reply::Kind::kNil:
      break;
  }
  return py::none();
}

// (replies, fill or None, seconds since the commands were submitted); throws the outcome's error.
py::tuple to_python(HeldOutcome& held) {
  if (held.outcome().error) throw Error(*held.outcome().error);
  py::list replies(held.outcome().replies.size());
  for (std::size_t i = 0; i < replies.size(); ++i) {
    replies[i] = to_python(held.outcome().replies[i]);
  }
  py::object fill = py::none();
  if (held.outcome().fill != redis::kNoFill) fill = py::cast(Fill(held.client(), held.take_fill()));
  const Duration age = now_precise() - held.outcome().submitted_at;
  return py::make_tuple(replies, fill, to_seconds(age));
}

class ReplyConversion final : public Conversion {
 public:
  Progress resume(Completion& completion, Instant, PyObject*& result) override {
    try {
      result = to_python(static_cast<HeldOutcome&>(*completion.payload)).release().ptr();
      return Progress::kDone;
    } catch (...) {
      set_python_error_from_current_exception();
      return Progress::kError;
    }
  }
};

// A loop that watches the connection of a client.
class LoopWatch final : public redis::Watcher, public Looker {
 public:
  // Null, with no exception set, where the loop cannot.
  static std::shared_ptr<LoopWatch> make(const LoopBridge& bridge,
                                         const std::shared_ptr<Client>& client) {
    std::shared_ptr<WatchSet> watches = bridge.watches();
    if (!watches) {
      PyErr_Clear();
      return nullptr;
    }
    auto made = std::make_shared<LoopWatch>(std::move(watches), client);
    made->id_ = bridge.add_looker(made);
    return made;
  }
  LoopWatch(std::shared_ptr<WatchSet> watches, const std::shared_ptr<Client>& client)
      : watches_(std::move(watches)), client_(client) {}

  [[nodiscard]] bool watch(int fd) noexcept override { return watches_->add(fd, id_); }
  void unwatch(int fd) noexcept override { watches_->remove(fd); }
  void look() override {
    if (const std::shared_ptr<Client> client = client_.lock()) client->look();
  }
  [[nodiscard]] bool is_of(const LoopBridge& bridge) const { return watches_ == bridge.watches(); }

 private:
  const std::shared_ptr<WatchSet> watches_;
  const std::weak_ptr<Client> client_;
  std::uint64_t id_ = 0;
};

// The client of this process. A forked child leaves the parent's alone and starts with a new one.
class RedisClient {
 public:
  // Announces on a feed of its own, or on that of `feeder`, which outlives it.
  RedisClient(redis::ClientOptions options, RedisClient* feeder)
      : options_(std::move(options)), feeder_(feeder) {
    renew();
  }
  ~RedisClient() {
    if (generation_ != process_generation()) {
      abandon();
    } else {
      client_->close();  // the I/O thread never asks for the interpreter lock
    }
  }
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  py::tuple call(const py::sequence& commands, const std::optional<std::string>& fill_key,
                 Names changes) {
    std::vector<Request> requests;
    requests.push_back(make_request(commands, fill_key, std::move(changes)));
    return to_python(*call_all(std::move(requests)).front());
  }

  // What call() answers to each of `asks`, (commands, fill_key), which are sent together.
  py::list call_each(const py::sequence& asks) {
    std::vector<Request> requests;
    requests.reserve(asks.size());
    for (const py::handle ask : asks) {
      const auto [commands, fill_key] =
          ask.cast<std::pair<py::sequence, std::optional<std::string>>>();
      requests.push_back(make_request(commands, fill_key, {}));
    }
    py::list answers;
    for (const auto& held : call_all(std::move(requests))) answers.append(to_python(*held));
    return answers;
  }

  py::object start(const py::sequence& commands, const std::optional<std::string>& fill_key,
                   Names changes) {
    return begin(make_request(commands, fill_key, std::move(changes)),
                 std::make_unique<ReplyConversion>());
  }

  // GET of `key`, spelled and read by `codec`: a future of what read_one() answers, or None if
  // Python must spell the key.
  py::object start_read(py::handle key, std::shared_ptr<PlainCodec> codec) {
    const auto name = codec->spell(key.ptr());
    if (!name) return py::none();
    Request request;
    redis::append_command(request.bytes, {"GET", *name});
    return begin(std::move(request), read_conversion(std::move(codec)));
  }

  py::object call_read(py::handle key, const PlainCodec& codec) {
    const auto name = codec.spell(key.ptr());
    if (!name) return py::none();
    std::vector<Request> requests(1);
    redis::append_command(requests.front().bytes, {"GET", *name});
    const auto held = std::move(call_all(std::move(requests)).front());
    return read_one(*held, codec);
  }

  // MGET, and the values as `codec` reads them, by index: see read_all().
  py::tuple call_reads(const py::list& names, const PlainCodec& codec, const py::object& missing) {
    std::vector<Request> requests;
    requests.push_back(make_reads(names));
    const auto held = std::move(call_all(std::move(requests)).front());
    return read_all(*held, codec, missing);
  }

  py::object start_reads(const py::list& names, std::shared_ptr<PlainCodec> codec,
                         py::object missing) {
    return begin(make_reads(names), reads_conversion(std::move(codec), std::move(missing)));
  }

  // Sends what the turn of an event loop has gathered.
  void flush() {
    flushes_ = false;
    live()->flush();
  }

  // Sends `commands` and lets nobody wait for the replies; what cannot be sent is dropped.
  void post(const py::sequence& commands, Names changes) {
    Request request = make_request(commands, std::nullopt, std::move(changes));
    request.done = [](const Outcome&) {};
    live()->submit(std::move(request));
  }

  void changed(const std::string& key) { live()->changed(key); }

  void drop_all() { live()->drop_all(); }
  std::optional<std::int64_t> latest_server_time() { return live()->latest_server_time(); }

  bool was_lost_within(double seconds) { return live()->was_lost_within(from_seconds(seconds)); }

  bool has_life() { return live()->shows_life(); }

  void hold(const std::string& token, const py::sequence& renewal) {
    live()->hold(token, make_request(renewal, std::nullopt, {}).bytes);
  }

  void let_go(const std::string& token) { live()->let_go(token); }

  std::optional<Fill> begin_away(const std::string& key) {
    const std::shared_ptr<Client> client = live();
    const FillId id = client->begin_away(key);
    if (id == redis::kNoFill) return std::nullopt;
    return Fill(client, id);
  }

  std::uint64_t arrived() {
    live();
    return feed_->arrived();
  }

  py::tuple take_news() {
    live();
    const cache::InvalidationNews news = feed_->take();
    py::list keys(news.keys.size());
    for (std::size_t i = 0; i < news.keys.size(); ++i) keys[i] = py::bytes(news.keys[i]);
    return py::make_tuple(news.flush, keys);
  }

  // The feed itself, for Cache._follow().
  py::object feed() {
    live();
    return py::capsule(
        new std::shared_ptr<cache::InvalidationFeed>(feed_), kFeedCapsule,
        [](void* held) { delete static_cast<std::shared_ptr<cache::InvalidationFeed>*>(held); });
  }

  void close() {
    const std::shared_ptr<Client> client = live();
    const GilRelease unlocked;
    client->close();
  }

  py::dict stats() {
    const redis::ClientStats figures = live()->stats();
    static constexpr const char* kBreaker[] = {"closed", "open", "half-open"};
    py::dict found = dict_of(figures);
    found["breaker"] = kBreaker[static_cast<int>(figures.breaker)];
    py::dict errors;
    for (const auto& [code, count] : figures.error_replies) {
      errors[py::bytes(code).attr("decode")("utf-8", "replace")] = count;
    }
    found["error_replies"] = errors;
    return found;
  }

 private:
  void renew() {
    feed_ = feeder_ == nullptr ? std::make_shared<cache::InvalidationFeed>() : feeder_->own_feed();
    client_ = std::make_shared<Client>(options_, feed_);
    flushes_ = false;
    watch_.reset();
    generation_ = process_generation();
  }
  std::shared_ptr<cache::InvalidationFeed> own_feed() {
    live();
    return feed_;
  }
  // Never destroyed: its locks may be held by threads that do not exist here.
  void abandon() {
    leave_to_parent(client_);
    leave_to_parent(watch_);
  }

  using Held = std::vector<std::unique_ptr<HeldOutcome>>;

  // Submits `requests`, and waits for all of their outcomes, which Ctrl-C can end.
  Held call_all(std::vector<Request> requests) {
    struct Call {
      explicit Call(std::size_t count) : held(count), ended(count) {}
      Held held;
      redis::Countdown ended;
    };
    const std::shared_ptr<Client> client = live();
    const auto call = std::make_shared<Call>(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      requests[i].done = [call, client, i](Outcome outcome) {
        call->held[i] = std::make_unique<HeldOutcome>(std::move(outcome), client);
        call->ended.count_down();
      };
    }
    {
      const GilRelease unlocked;
      client->submit_and_wait(requests, call->ended, kSignalPause);
    }
    while (!call->ended.has_ended()) {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      const GilRelease unlocked;
      client->wait(call->ended, kSignalPause);
    }
    return std::move(call->held);
  }

  // A future of the running loop for the outcome, as `conversion` makes it.
  py::object begin(Request request, std::unique_ptr<Conversion> conversion) {
    const std::shared_ptr<Client> client = live();
    const LoopBridge bridge = LoopBridge::of_running_loop();
    if (!bridge) throw py::error_already_set();
    std::uint64_t id = 0;
    PyObject* future = bridge.expect(std::move(conversion), id);
    if (future == nullptr) throw py::error_already_set();
    auto owned = py::reinterpret_steal<py::object>(future);
    request.done = [queue = bridge.queue(), id, client](Outcome outcome) {
      queue->push({id, std::make_unique<HeldOutcome>(std::move(outcome), client)});
    };
    if (!watch_ || !watch_->is_of(bridge)) watch_ = LoopWatch::make(bridge, client);
    const bool flushes = client->gather(std::move(request), watch_);
    if (flushes && !flushes_) {
      const py::object flush = py::cast(this, py::return_value_policy::reference).attr("flush");
      if (!bridge.call_soon(flush.ptr())) throw py::error_already_set();
      flushes_ = true;
    }
    // What was meant for the only command in flight is over with the next one.
    const Duration busy = watch_ && !flushes ? client->busy_wait(*watch_) : 0;
    if (!bridge.wait_busily(busy)) throw py::error_already_set();
    return owned;
  }

  std::shared_ptr<Client> live() {
    if (generation_ != process_generation()) {
      abandon();
      renew();
    }
    return client_;
  }

  const redis::ClientOptions options_;
  RedisClient* const feeder_;
  std::shared_ptr<cache::InvalidationFeed> feed_;
  std::shared_ptr<Client> client_;
  std::uint32_t generation_ = 0;
  bool flushes_ = false;              // a loop will call flush()
  std::shared_ptr<LoopWatch> watch_;  // of the loop that asked last
};

// Host and port.
using NodePair = std::pair<std::string, int>;
// Files of the authorities, of our certificate and of its key; whether the host is checked.
using TlsTuple = std::tuple<std::string, std::string, std::string, bool>;
// What the sentinels call the master, and who asks them.
using SentinelTuple = std::tuple<std::string, std::string, std::string>;

std::unique_ptr<RedisClient> make_client(
    const std::vector<NodePair>& nodes, std::string unix_path, std::string username,
    std::string password, int database, std::optional<TlsTuple> tls,
    std::optional<SentinelTuple> sentinel, double timeout_s, bool tracking, double ping_interval_s,
    std::size_t max_in_flight, std::size_t max_reply_bytes, std::string news_channel,
    std::string life_channel, std::string ident, std::string identity_key, std::string identity,
    bool cluster, std::optional<RedisClient*> feeder) {
  redis::ClientOptions options;
  if (tls) {
    auto& [ca_file, cert_file, key_file, check_hostname] = *tls;
    options.tls = redis::TlsOptions{std::move(ca_file), std::move(cert_file), std::move(key_file),
                                    check_hostname};
  }
  if (sentinel) {
    auto& [service, name, secret] = *sentinel;
    options.sentinels =
        redis::SentinelOptions{{}, std::move(service), std::move(name), std::move(secret)};
    for (const auto& [host, port] : nodes) options.sentinels->nodes.push_back({host, port});
  } else if (!nodes.empty()) {
    std::tie(options.host, options.port) = nodes.front();
  }
  options.unix_path = std::move(unix_path);
  options.username = std::move(username);
  options.password = std::move(password);
  options.database = database;
  options.timeout = from_seconds(timeout_s);
  options.tracking = tracking;
  options.ping_interval = from_seconds(ping_interval_s);
  options.max_in_flight = max_in_flight;
  options.limits.reply_bytes = max_reply_bytes;
  options.announces_own = !cluster;  // of which every node would hear what its scripts say
  options.news_channel = std::move(news_channel);
  options.life_channel = std::move(life_channel);
  options.ident = std::move(ident);
  options.identity_key = std::move(identity_key);
  options.identity = std::move(identity);
  options.cluster = cluster;
  return std::make_unique<RedisClient>(std::move(options), feeder.value_or(nullptr));
}

}  // namespace

void bind_redis(py::module_& module) {
  py::class_<Fill>(module, "RedisFill").def("keep", &Fill::keep).def("holds", &Fill::holds);
  bind_codec(module);
  py::class_<RedisClient>(module, "RedisClient")
      .def(py::init(&make_client), py::kw_only(), py::arg("nodes"), py::arg("unix_path"),
           py::arg("username"), py::arg("password"), py::arg("database"), py::arg("tls"),
           py::arg("sentinel"), py::arg("timeout_s"), py::arg("tracking"),
           py::arg("ping_interval_s"), py::arg("max_in_flight"), py::arg("max_reply_bytes"),
           py::arg("news_channel") = "", py::arg("life_channel") = "", py::arg("ident") = "",
           py::arg("identity_key") = "", py::arg("identity") = "", py::arg("cluster") = false,
           py::arg("feeder") = py::none(), py::keep_alive<1, 20>())
      .def("call", &RedisClient::call, py::arg("commands"), py::arg("fill_key") = py::none(),
           py::arg("changes") = Names{},
           "call(commands: Sequence[Sequence[bytes | str | int | float]], fill_key: bytes | None = "
           "None, changes: Sequence[bytes] = ()) -> tuple[list[Any], RedisFill | None, float]")
      .def("start", &RedisClient::start, py::arg("commands"), py::arg("fill_key") = py::none(),
           py::arg("changes") = Names{},
           "start(commands: Sequence[Sequence[bytes | str | int | float]], fill_key: bytes | None "
           "= None, changes: Sequence[bytes] = ()) -> Future[tuple[list[Any], RedisFill | None, "
           "float]]")
      .def("call_each", &RedisClient::call_each, py::arg("asks"),
           "call_each(asks: Sequence[tuple[Sequence[Sequence[bytes | str | int | float]], bytes | "
           "None]]) -> list[tuple[list[Any], RedisFill | None, float]]")
      .def("start_read", &RedisClient::start_read, py::arg("key"), py::arg("codec"),
           "start_read(key: Any, codec: PlainCodec) -> Future[tuple[int, Any]] | None")
      .def("call_read", &RedisClient::call_read, py::arg("key"), py::arg("codec"),
           "call_read(key: Any, codec: PlainCodec) -> tuple[int, Any] | None")
      .def("call_reads", &RedisClient::call_reads, py::arg("names"), py::arg("codec"),
           py::arg("missing"),
           "call_reads(names: list[bytes], codec: PlainCodec, missing: Any) -> tuple[list[Any], "
           "list[tuple[int, bytes]]]")
      .def("start_reads", &RedisClient::start_reads, py::arg("names"), py::arg("codec"),
           py::arg("missing"),
           "start_reads(names: list[bytes], codec: PlainCodec, missing: Any) -> "
           "Future[tuple[list[Any], list[tuple[int, bytes]]]]")
      .def("flush", &RedisClient::flush)
      .def("post", &RedisClient::post, py::arg("commands"), py::arg("changes") = Names{},
           "post(commands: Sequence[Sequence[bytes | str | int | float]], changes: Sequence[bytes] "
           "= ()) -> None")
      .def("changed", &RedisClient::changed, py::arg("key"), "changed(key: bytes) -> None")
      .def("drop_all", &RedisClient::drop_all)
      .def("latest_server_time", &RedisClient::latest_server_time)
      .def("was_lost_within", &RedisClient::was_lost_within, py::arg("seconds"))
      .def("has_life", &RedisClient::has_life)
      .def("hold", &RedisClient::hold, py::arg("token"), py::arg("renewal"),
           "hold(token: str, renewal: Sequence[Sequence[bytes | str | int | float]]) -> None")
      .def("let_go", &RedisClient::let_go, py::arg("token"))
      .def("begin_away", &RedisClient::begin_away, py::arg("key"),
           "begin_away(key: bytes) -> RedisFill | None")
      .def("arrived", &RedisClient::arrived)
      .def("take_news", &RedisClient::take_news, "take_news() -> tuple[bool, list[bytes]]")
      .def("feed", &RedisClient::feed)
      .def("close", &RedisClient::close)
      .def("stats", &RedisClient::stats);
}

}  // namespace mcp::python
