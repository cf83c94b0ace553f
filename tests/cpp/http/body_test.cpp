// Codings as servers use them, each fed whole, byte by byte, and cut at every place.
#include "http/body.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

namespace mcp::http {
namespace {

constexpr std::uint64_t kBodyMost = 1 << 20;

std::string compressed(const std::string& text, int window_bits) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string gzip(const std::string& text) { return compressed(text, 15 + 16); }
std::string zlib(const std::string& text) { return compressed(text, 15); }
std::string raw(const std::string& text) { return compressed(text, -15); }

struct BodyCase {
  std::string name;
  std::string encoding;
  std::string bytes;
  std::string body = "";
  std::string error = "";

  friend void PrintTo(const BodyCase& self, std::ostream* out) { *out << self.name; }
};

class BodyTest : public testing::TestWithParam<BodyCase> {};

TEST_P(BodyTest, IsReadWhereverItIsCut) {
  const BodyCase& expected = GetParam();
  const std::size_t size = expected.bytes.size();
  for (std::size_t cut = 0; cut <= size; ++cut) {  // at 0: byte by byte
    BodySink sink;
    sink.begin(kBodyMost, true);
    sink.add_encoding(expected.encoding);
    const std::string_view bytes = expected.bytes;
    bool good = true;
    if (cut == 0) {
      for (std::size_t i = 0; i < size && good; ++i) good = sink.write(bytes.substr(i, 1));
    } else {
      good = sink.write(bytes.substr(0, cut)) && sink.write(bytes.substr(cut));
    }
    good = good && sink.finish();
    ASSERT_EQ(good, expected.error.empty()) << sink.error() << " cut at " << cut;
    EXPECT_EQ(sink.error(), expected.error);
    if (good) {
      EXPECT_EQ(sink.kept(), expected.body);
    }
  }
}

const std::string kText = "hello hello hello hello";
const std::string kCorrupt = "bad response: corrupt gzip";
const std::string kTruncated = "bad response: truncated gzip";

INSTANTIATE_TEST_SUITE_P(
    Gzip, BodyTest,
    testing::Values(
        BodyCase{"one member", "gzip", gzip(kText), kText},
        BodyCase{"by its old name", "X-Gzip", gzip(kText), kText},
        BodyCase{"several members", "gzip", gzip("a") + gzip("") + gzip(kText), "a" + kText},
        BodyCase{"padding behind", "gzip", gzip(kText) + std::string(512, '\0'), kText},
        BodyCase{"padding between", "gzip", gzip("a") + std::string(3, '\0') + gzip("b"), "ab"},
        BodyCase{"an empty member", "gzip", gzip("")}, BodyCase{"no bytes at all", "gzip", ""},
        BodyCase{"no gzip", "gzip", "plain text", "", kCorrupt},
        BodyCase{"zlib by the wrong name", "gzip", zlib(kText), "", kCorrupt},
        BodyCase{"something behind", "gzip", gzip(kText) + "x", "", kTruncated},
        BodyCase{"more behind", "gzip", gzip(kText) + "xyz", "", kCorrupt},
        BodyCase{"half a member", "gzip", gzip(kText).substr(0, 20), "", kTruncated},
        BodyCase{"half a second member", "gzip", gzip("a") + gzip(kText).substr(0, 12), "",
                 kTruncated},
        BodyCase{"no checksum", "gzip", gzip(kText).substr(0, gzip(kText).size() - 1), "",
                 kTruncated},
        BodyCase{"a wrong checksum", "gzip",
                 gzip(kText).substr(0, gzip(kText).size() - 8) + "12345678", "", kCorrupt}));

INSTANTIATE_TEST_SUITE_P(
    Deflate, BodyTest,
    testing::Values(BodyCase{"zlib", "deflate", zlib(kText), kText},
                    BodyCase{"raw", "deflate", raw(kText), kText},
                    BodyCase{"gzip by the wrong name", "deflate", gzip(kText), kText},
                    BodyCase{"empty zlib", "deflate", zlib("")},
                    BodyCase{"empty raw", "deflate", raw("")},
                    BodyCase{"one byte", "deflate", "x", "", kTruncated},
                    BodyCase{"half", "deflate", zlib(kText).substr(0, 9), "", kTruncated},
                    BodyCase{"something behind", "deflate", zlib(kText) + "x", "", kCorrupt},
                    BodyCase{"something behind raw", "deflate", raw(kText) + "x", "", kCorrupt}));

INSTANTIATE_TEST_SUITE_P(
    Others, BodyTest,
    testing::Values(BodyCase{"identity", "identity", "abc", "abc"},
                    BodyCase{"unknown", "br", "abc", "abc"},
                    BodyCase{"identity beside gzip", "identity, gzip", gzip(kText), kText},
                    BodyCase{"two codings stay as sent", "gzip, gzip", "abc", "abc"}));

TEST(Body, TheDecodedSizeIsWhatIsLimited) {
  for (const std::size_t size : {999, 1000, 1001}) {
    BodySink sink;
    sink.begin(1000, true);
    sink.add_encoding("gzip");
    EXPECT_EQ(sink.write(gzip(std::string(size, 'x'))), size <= 1000);
    EXPECT_EQ(sink.error(), size <= 1000 ? "" : "body too large");
    EXPECT_LE(sink.kept().size(), 1000U);
  }
}

TEST(Body, EmptyMembersWithoutEndAreTooLargeAsWell) {
  BodySink sink;
  sink.begin(1000, false);
  sink.add_encoding("gzip");
  const std::string nothing = gzip("");
  int taken = 0;
  while (taken < 100'000 && sink.write(nothing)) ++taken;
  EXPECT_LT(taken, 100'000);
  EXPECT_EQ(sink.error(), "body too large");
}

}  // namespace
}  // namespace mcp::http
