// session.cpp: finds the server, greets, and takes replies until either connection ends.
#include "redis/session.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/log.h"

namespace mcp::redis {
namespace {

constexpr std::string_view kInvalidationChannel = "__redis__:invalidate";
constexpr std::size_t kIdentBytes = 8;
constexpr int kReadsOfNews = 64;

// Read anew for each session: certificates are replaced while programs run.
std::shared_ptr<const TlsContext> tls_of(const ClientOptions& options) {
  if (!options.tls) return nullptr;
  try {
    return std::make_shared<const TlsContext>(*options.tls);
  } catch (const Error& error) {
    throw Error(ErrorKind::kBackendUnavailable, error.what());
  }
}

}  // namespace

Session::Session(const ClientOptions& options, Sentinels* sentinels, std::shared_ptr<WakeFd> wake)
    : Session(options, sentinels, std::move(wake), tls_of(options)) {}

Session::Session(const ClientOptions& options, Sentinels* sentinels, std::shared_ptr<WakeFd> wake,
                 std::shared_ptr<const TlsContext> tls)
    : options_(options),
      sentinels_(sentinels),
      data_(options.limits, tls, wake),
      news_(options.limits, tls, wake) {
  if (sentinels_ != nullptr) {
    phase_ = Phase::kFindMaster;
    watch_.emplace(options_, *sentinels_, std::move(tls), std::move(wake));
  } else if (!options_.unix_path.empty()) {
    data_.reach_unix(options_.unix_path);
  } else {
    data_.reach({options_.host, options_.port});
  }
}

void Session::add_polls(std::vector<pollfd>& polls, bool data_waits, bool reads_data) const {
  data_.add_poll(polls, data_waits, reads_data || !ready());
  news_.add_poll(polls, false);
  if (watch_) watch_->add_poll(polls);
}

SessionNews Session::advance(std::span<const pollfd> polls) {
  SessionNews news;
  try {
    // I first: what it announces is older than what D answers now.
    step(polls, news_, news);
    step(polls, data_, news);
    if (watch_) take_master(polls);
  } catch (const Error& error) {
    news.lost = error;
  }
  return news;
}

SessionNews Session::look(int pieces) {
  SessionNews news;
  try {
    if (news_.is_up()) {  // first, as in advance()
      std::vector<Reply> announced;
      news_.look(announced, kReadsOfNews);
      for (Reply& reply : announced) take(news_, std::move(reply), news);
      news_.check();
    }
    news.more = data_.look(news.replies, pieces);
    data_.check();
  } catch (const Error& error) {
    news.lost = error;
  }
  return news;
}

void Session::step(std::span<const pollfd> polls, Channel& channel, SessionNews& news) {
  std::vector<Reply> replies;
  if (channel.advance(polls, replies)) {
    if (&channel == &data_) return data_is_up();
    return prepare_news();
  }
  for (Reply& reply : replies) take(channel, std::move(reply), news);
  channel.check();
}

// -- The master

void Session::take_master(std::span<const pollfd> polls) {
  std::optional<Node> named;
  try {
    named = watch_->advance(polls);
  } catch (const Error&) {
    // The master serves without its sentinels. They are asked again with the next beat.
    if (ready()) return;
    throw;
  }
  if (!named || *named == master_) return;
  if (phase_ != Phase::kFindMaster) {
    throw Error(ErrorKind::kBackendUnavailable,
                options_.where() + " moved from " + master_.text() + " to " + named->text());
  }
  master_ = std::move(*named);
  phase_ = Phase::kReachData;
  data_.reach(master_);
}

void Session::ask_for_master() {
  if (!watch_) return;
  try {
    watch_->ask_again();
  } catch (const Error&) {  // with the next beat
  }
}

// -- The start

std::string Session::waits_for() const {
  if (phase_ == Phase::kFindMaster) return watch_->waits_for();
  const bool data = phase_ == Phase::kReachData || phase_ == Phase::kPrepareData;
  const Channel& channel = data ? data_ : news_;
  std::string what(channel.waits_for());
  return sentinels_ == nullptr ? what : what + " of " + channel.where();
}

void Session::data_is_up() {
  if (!options_.tracking) return prepare_data();
  phase_ = Phase::kReachNews;
  news_.reach_with(data_);
}

void Session::prepare_news() {
  phase_ = Phase::kPrepareNews;
  news_.authenticate(options_.username, options_.password);
  news_.ask({"CLIENT", "ID"});
  news_.ask({"SUBSCRIBE", kInvalidationChannel});
  for (const std::string* channel : {&options_.news_channel, &options_.life_channel}) {
    if (!channel->empty()) news_.ask({"SUBSCRIBE", *channel});
  }
  news_.flush();
}

void Session::prepare_data() {
  phase_ = Phase::kPrepareData;
  data_.authenticate(options_.username, options_.password);
  if (sentinels_ != nullptr) data_.ask({"ROLE"});
  if (options_.database != 0) data_.ask({"SELECT", std::to_string(options_.database)});
  if (!invalidation_id_.empty()) {
    if (options_.announces_own) {
      data_.ask({"CLIENT", "TRACKING", "ON", "REDIRECT", invalidation_id_});
    } else {
      data_.ask({"CLIENT", "TRACKING", "ON", "REDIRECT", invalidation_id_, "NOLOOP"});
    }
  }
  data_.ask({"PING"});
  data_.flush();
}

void Session::ping_invalidations() {
  news_.tell({"PING"});
  news_.flush();
}

// -- Replies

void Session::take(Channel& channel, Reply reply, SessionNews& news) {
  if (channel.awaits_reply()) return take_start(channel, reply, news);
  if (&channel == &data_) {
    news.replies.push_back(std::move(reply));
  } else {
    news.heard = true;
    take_invalidation(reply, news);
  }
}

void Session::take_start(Channel& channel, const Reply& reply, SessionNews& news) {
  const std::string asked = channel.take_asked();
  if (reply.is_error()) {
    if (!may_go_on_without(asked, reply.text)) {
      // Some servers repeat the arguments of what they refuse: the code is enough of it.
      throw Error(ErrorKind::kBackendUnavailable, "redis at " + channel.where() + " refused " +
                                                      asked + ": " +
                                                      std::string(error_code(reply.text)));
    }
  } else if (asked == "CLIENT ID") {
    if (reply.kind != Reply::Kind::kInteger) {
      throw Error(ErrorKind::kProtocol, "redis answered CLIENT ID with something else");
    }
    invalidation_id_ = std::to_string(reply.integer);
  } else if (asked == "CLIENT TRACKING") {
    tracks_ = true;
  } else if (asked == "ROLE" && !is_master(reply)) {
    throw Error(ErrorKind::kBackendUnavailable,
                "redis at " + channel.where() + " is not the master that the sentinels say it is");
  }
  if (channel.awaits_reply()) return;
  if (&channel == &news_) return prepare_data();
  if (sentinels_ != nullptr) sentinels_->was_right();
  phase_ = Phase::kReady;
  news.became_ready = true;
}

// Whether the session serves without what the server refused. It says what that takes away, and
// which right an ACL user lacks.
bool Session::may_go_on_without(const std::string& asked, const std::string& refusal) {
  const std::string_view channel = std::string_view(asked).substr(asked.find(' ') + 1);
  const bool subscribes = asked.starts_with("SUBSCRIBE ");
  if (subscribes && channel != kInvalidationChannel) {
    if (channel == options_.news_channel) {
      logger("redis").warn(
          "redis at {} refused to subscribe to {}: the user needs the right to it (ACL SETUSER ... "
          "&{}); values that Redis had no room for may be kept until memory_ttl",
          options_.where(), channel, channel);
    } else {
      shows_life_ = false;
    }
    return true;
  }
  // A user without the right to it is told by READONLY, if need be.
  if (asked == "ROLE") return error_code(refusal) == "NOPERM";
  if (!subscribes && asked != "CLIENT TRACKING" && asked != "CLIENT ID") return false;
  if (subscribes) {
    invalidation_id_.clear();
    logger("redis").warn(
        "redis at {} refused to announce changes: the user needs the right to a channel (ACL "
        "SETUSER ... &{}); nothing is kept in memory",
        options_.where(), channel);
  } else {
    logger("redis").warn("redis at {} cannot announce changes ({}); nothing is kept in memory",
                         options_.where(), error_code(refusal));
  }
  return true;
}

void Session::take_invalidation(const Reply& reply, SessionNews& news) {
  // ["message", "__redis__:invalidate", [key, ...] or null], ["message", news_channel, key] or
  // ["message", life_channel, "<" or ">" and names]; pongs and the rest say nothing.
  const bool is_message = reply.items.size() == 3 && reply.items[0].text == "message";
  const std::string_view channel = is_message ? reply.items[1].text : std::string_view();
  if (is_message && channel == options_.life_channel) {
    const std::string& said = reply.items[2].text;
    const bool is_end = said.starts_with('>');
    const std::vector<std::string> before = end_own_change(news, is_end);
    in_own_change_ = said == "<";
    if (is_end) expect(std::string_view(said).substr(1), before);
    return;
  }
  if (!is_message || channel != kInvalidationChannel) {
    end_own_change(news, false);  // nothing else comes in between, unless the change was broken off
    if (!is_message || channel != options_.news_channel) return;
    const std::string& said = reply.items[2].text;
    if (said.size() > kIdentBytes && !said.starts_with(options_.ident)) {
      news.invalidated.push_back(said.substr(kIdentBytes));
    }
    return;
  }
  const Reply& keys = reply.items[2];
  if (keys.kind != Reply::Kind::kArray) {
    expected_.clear();
    news.invalidated_all = true;
    return;
  }
  for (const Reply& key : keys.items) {
    if (in_own_change_) {
      own_.push_back(key.text);
    } else if (!take_expected(key.text)) {
      news.invalidated.push_back(key.text);
    }
  }
}

// What was announced in a change of our own is told by the change's reply, unless it was broken
// off. Returns what was told so, and expects nothing any more.
std::vector<std::string> Session::end_own_change(SessionNews& news, bool is_known) {
  std::vector<std::string> own = std::exchange(own_, {});
  if (!is_known) news.invalidated.insert(news.invalidated.end(), own.begin(), own.end());
  in_own_change_ = false;
  expected_.clear();
  return own;
}

// `names`, each behind its length in eight hexadecimal digits, are announced next, but for those
// that were `before`.
void Session::expect(std::string_view names, std::vector<std::string> before) {
  constexpr std::size_t kDigits = 8;
  while (names.size() > kDigits) {
    std::size_t size = 0;
    const char* const end = names.data() + kDigits;
    if (std::from_chars(names.data(), end, size, 16).ptr != end) return;
    const std::string_view name = names.substr(kDigits, size);
    const auto known = std::find(before.begin(), before.end(), name);
    if (known == before.end()) {
      expected_.emplace_back(name);
    } else {
      before.erase(known);
    }
    names.remove_prefix(kDigits + name.size());
  }
}

// Whether `name` is announced as expected. Anything else that is announced ends what is expected:
// nothing comes in between.
bool Session::take_expected(const std::string& name) {
  const auto found = std::find(expected_.begin(), expected_.end(), name);
  if (found == expected_.end()) {
    expected_.clear();
    return false;
  }
  expected_.erase(found);
  return true;
}

}  // namespace mcp::redis
