#include "redis/reply_reader.h"

#include <gtest/gtest.h>

#include <string>

#include "redis/command.h"

namespace mcp::redis {
namespace {

const std::string kWire(
    "+OK\r\n-ERR no\r\n:-42\r\n$5\r\nhe\0lo\r\n$-1\r\n*3\r\n$1\r\na\r\n*1\r\n:7\r\n*-1\r\n", 60);

std::string read_all(ReplyReader& reader) {
  std::string seen;
  while (const auto reply = reader.next()) {
    seen += static_cast<char>('0' + static_cast<int>(reply->kind));
    seen += reply->text + std::to_string(reply->integer);
    for (const Reply& item : reply->items) seen += "[" + item.text + "]";
  }
  return seen;
}

ErrorKind kind_of_failure(ReplyReader& reader, std::string_view bytes) {
  try {
    reader.feed(bytes);
    while (reader.next()) {
    }
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kConfiguration;
}

TEST(ReplyReader, ReadsEveryKindWhereverTheStreamIsCut) {
  ReplyReader whole;
  whole.feed(kWire);
  const std::string expected = read_all(whole);
  for (std::size_t cut = 0; cut <= kWire.size(); ++cut) {
    ReplyReader reader;
    reader.feed(std::string_view(kWire).substr(0, cut));
    std::string seen = read_all(reader);
    reader.feed(std::string_view(kWire).substr(cut));
    EXPECT_EQ(seen + read_all(reader), expected) << "cut at " << cut;
  }
}

TEST(ReplyReader, KeepsTheBytesOfAString) {
  ReplyReader reader;
  reader.feed(std::string_view("$4\r\n\0\r\n\xff\r\n", 10));
  const auto reply = reader.next();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->kind, Reply::Kind::kString);
  EXPECT_EQ(reply->text, std::string_view("\0\r\n\xff", 4));
}

TEST(ReplyReader, TellsNilFromAnEmptyString) {
  ReplyReader reader;
  reader.feed("$-1\r\n$0\r\n\r\n");
  EXPECT_TRUE(reader.next()->is_nil());
  EXPECT_EQ(reader.next()->kind, Reply::Kind::kString);
}

TEST(ReplyReader, RefusesAnAnnouncedLengthBeforeItsBytesCome) {
  ReplyReader reader({.reply_bytes = 1000});
  EXPECT_EQ(kind_of_failure(reader, "$1001\r\n"), ErrorKind::kProtocol);
}

TEST(ReplyReader, RefusesStringsThatAreTooLargeTogether) {
  ReplyReader reader({.reply_bytes = 10});
  EXPECT_EQ(kind_of_failure(reader, "*2\r\n$6\r\nabcdef\r\n$6\r\nabcdef\r\n"),
            ErrorKind::kProtocol);
}

TEST(ReplyReader, StartsTheBoundAnewForEachReply) {
  ReplyReader reader({.reply_bytes = 6, .elements = 1});
  for (int i = 0; i < 100; ++i) {
    reader.feed("*1\r\n$6\r\nabcdef\r\n");
    ASSERT_TRUE(reader.next());
  }
}

TEST(ReplyReader, RefusesMoreElementsThanTheBound) {
  for (const std::string_view bytes :
       {"*2000000000\r\n", "*1048577\r\n", "*2\r\n*1048575\r\n", "*99999999999999999999\r\n"}) {
    ReplyReader reader;
    EXPECT_EQ(kind_of_failure(reader, bytes), ErrorKind::kProtocol) << bytes;
  }
}

TEST(ReplyReader, RefusesWhatIsNotRedis) {
  for (const std::string_view bytes :
       {"HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "$abc\r\n", "$-2\r\n", "*-2\r\n",
        ":12x\r\n", "\x16\x03\x01"}) {
    ReplyReader reader;
    EXPECT_EQ(kind_of_failure(reader, bytes), ErrorKind::kProtocol) << bytes;
  }
}

TEST(ReplyReader, RefusesALineWithoutEnd) {
  for (const char type : {'+', '-', ':', '$', '*'}) {
    ReplyReader reader;
    EXPECT_EQ(kind_of_failure(reader, type + std::string(70'000, '1')), ErrorKind::kProtocol);
  }
}

TEST(ReplyReader, RefusesDeepNesting) {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes += "*1\r\n";
  ReplyReader reader;
  EXPECT_EQ(kind_of_failure(reader, bytes), ErrorKind::kProtocol);
}

TEST(Reply, TypesTheErrorsOfTheServer) {
  const std::string_view in_a_script_before_7 =
      "ERR Error running script (call to f_80): @user_script:63: @user_script: 63: -OOM command "
      "not allowed when used "
      "memory > 'maxmemory'.";
  for (const std::string_view text :
       {in_a_script_before_7,
        std::string_view("ERR Error running script (call to f_80): @user_script:63: -READONLY no"),
        std::string_view("LOADING Redis is loading"),
        std::string_view("NOAUTH Authentication required."),
        std::string_view("OOM command not allowed"), std::string_view("READONLY You can't write"),
        std::string_view("MOVED 3999 127.0.0.1:6381"),
        std::string_view("ASK 3999 127.0.0.1:6381")}) {
    EXPECT_EQ(error_of(text).kind(), ErrorKind::kBackendUnavailable) << text;
  }
  EXPECT_EQ(error_of("WRONGTYPE Operation against a key").kind(), ErrorKind::kProtocol);
  EXPECT_EQ(error_of("ERR unknown command").kind(), ErrorKind::kCache);
  EXPECT_EQ(error_of("").kind(), ErrorKind::kCache);
}

TEST(Command, CarriesAnyBytes) {
  std::string out;
  append_command(out, {"SET", std::string_view("k\r\n\0", 4), ""});
  EXPECT_EQ(out, std::string("*3\r\n$3\r\nSET\r\n$4\r\nk\r\n\0\r\n$0\r\n\r\n", 29));
}

}  // namespace
}  // namespace mcp::redis
