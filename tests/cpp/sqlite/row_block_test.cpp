#include "sqlite/row_block.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <limits>
#include <string>

#include "base/error.h"
#include "sqlite/params.h"

namespace mcp::sqlite {
namespace {

class RowBlockTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(sqlite3_open(":memory:", &db_), SQLITE_OK); }
  void TearDown() override {
    sqlite3_finalize(statement_);
    sqlite3_close(db_);
  }
  sqlite3_stmt* prepare(const char* sql) {
    sqlite3_finalize(statement_);
    statement_ = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(db_, sql, -1, &statement_, nullptr), SQLITE_OK);
    return statement_;
  }

  sqlite3* db_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

TEST_F(RowBlockTest, GivesBackWhatWasBoundInTypeAndValue) {
  const std::string long_text(5000, 'x');
  const std::string blob("\0\xff", 2);
  Params params;
  params.add_int(std::numeric_limits<std::int64_t>::min());
  params.add_double(-0.5);
  params.add_null();
  params.add_text(long_text);
  params.add_text("gr\xc3\xbc\xc3\x9f");
  params.add_blob(blob);
  params.add_blob({});
  sqlite3_stmt* statement = prepare("SELECT ?, ?, ?, ?, ?, ?, ?");
  params.bind(statement);
  RowBlock block(7);
  ASSERT_EQ(sqlite3_step(statement), SQLITE_ROW);
  block.append_row(statement);
  block.append_row(statement);  // the second row lies behind the first
  EXPECT_EQ(block.rows(), 2u);
  for (const std::size_t row : {std::size_t{0}, std::size_t{7}}) {
    EXPECT_EQ(block.type(row), CellType::kInt);
    EXPECT_EQ(block.integer(row), std::numeric_limits<std::int64_t>::min());
    EXPECT_EQ(block.real(row + 1), -0.5);
    EXPECT_EQ(block.type(row + 2), CellType::kNull);
    EXPECT_EQ(block.type(row + 3), CellType::kAscii);
    EXPECT_EQ(block.bytes(row + 3), long_text);
    EXPECT_EQ(block.type(row + 4), CellType::kText);
    EXPECT_EQ(block.type(row + 5), CellType::kBlob);
    EXPECT_EQ(block.bytes(row + 5), blob);
    EXPECT_EQ(block.bytes(row + 6), "");
  }
  RowBlock moved = std::move(block);
  EXPECT_EQ(moved.bytes(3), long_text);
}

TEST_F(RowBlockTest, FindsTheByteThatIsNotAsciiWhereverItIs) {
  for (std::size_t size = 1; size < 40; ++size) {
    std::string text(size, 'a');
    EXPECT_TRUE(is_ascii(text));
    for (std::size_t at = 0; at < size; ++at) {
      text[at] = '\x80';
      EXPECT_FALSE(is_ascii(text)) << size << " " << at;
      text[at] = 'a';
    }
  }
}

TEST_F(RowBlockTest, ParametersOfOneValueButAnotherTypeAreAnotherKey) {
  Params integer, real, text, blob, null;
  integer.add_int(1);
  real.add_double(1.0);
  text.add_text("1");
  blob.add_blob("1");
  null.add_null();
  const std::string_view keys[] = {integer.bytes(), real.bytes(), text.bytes(), blob.bytes(),
                                   null.bytes()};
  for (const std::string_view& a : keys) {
    for (const std::string_view& b : keys) EXPECT_EQ(a == b, &a == &b);
  }
  Params split, joined;
  split.add_text("a");
  split.add_text("b");
  joined.add_text("ab");
  joined.add_text("");
  EXPECT_NE(split.bytes(), joined.bytes());
}

TEST_F(RowBlockTest, TheNumberOfParametersMustFit) {
  Params one;
  one.add_int(1);
  EXPECT_THROW(one.bind(prepare("SELECT ?, ?")), Error);
  EXPECT_THROW(one.bind(prepare("SELECT 1")), Error);
  EXPECT_NO_THROW(one.bind(prepare("SELECT :a, :a")));
}

TEST_F(RowBlockTest, TheTypesOfAPackAreOneLetterEach) {
  Params params;
  params.add_null();
  params.add_text("NIF");
  params.add_int(1);
  params.add_blob("B");
  params.add_double(1);
  EXPECT_EQ(params.types(), "NTIBF");
  EXPECT_EQ(Params().types(), "");
}

TEST_F(RowBlockTest, EachOfManyRowsBindsAsItWouldAlone) {
  ParamRows rows;
  for (int row = 0; row < 300; ++row) {
    rows.row().add_int(row);
    rows.row().add_text("text " + std::to_string(row));
    rows.end_row();
  }
  rows.row().add_int(1);
  rows.end_row();
  ASSERT_EQ(rows.size(), 301u);
  sqlite3_stmt* statement = prepare("SELECT :a, :b");
  for (const std::size_t row : {0u, 1u, 2u, 299u, 150u}) {
    sqlite3_reset(statement);
    rows.bind(statement, row);
    ASSERT_EQ(sqlite3_step(statement), SQLITE_ROW);
    EXPECT_EQ(sqlite3_column_int(statement, 0), static_cast<int>(row));
    EXPECT_EQ(reinterpret_cast<const char*>(sqlite3_column_text(statement, 1)),
              "text " + std::to_string(row));
  }
  sqlite3_reset(statement);
  EXPECT_THROW(rows.bind(statement, 300), Error);
}

}  // namespace
}  // namespace mcp::sqlite
