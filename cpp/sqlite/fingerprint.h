// fingerprint.h: the form of a statement, without its values. Statements that differ only in
// literals, parameters, the length of IN and VALUES lists, white space, comments or the case of
// keywords share one fingerprint; identifiers are kept as written.
//
// Safe from any thread. Works on text alone: no schema, no parse, so it also takes what SQLite
// would refuse. Time and memory are linear in the text.
//
// A bare "name" in double quotes after a comparison, or as an element of a list, counts as a
// literal, because SQLite reads it as one where no column has that name. ORDER BY 1 and
// GROUP BY 1 keep their number: it names a column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mcp::sqlite {

// "select *\nfrom t where a = 'x' and b in (1, 2, 3)" gives
// "SELECT * FROM t WHERE a = ? AND b IN (?)".
[[nodiscard]] std::string fingerprint(std::string_view sql);

// The same into a buffer that the caller keeps; replaces what it holds.
void fingerprint(std::string_view sql, std::string& out);

// FNV-1a of the fingerprint's bytes, 64 bits: the same on every machine and in every version.
[[nodiscard]] std::uint64_t fingerprint_hash(std::string_view fingerprint) noexcept;

inline constexpr std::size_t kSampleLimit_bytes = 4096;
inline constexpr std::string_view kSampleCut = "...";

// A statement that can be planned like `sql` and tells none of its values: literals and parameters
// are `?`, an IN list keeps up to three elements, VALUES its first row. A pattern after LIKE or
// GLOB keeps its outer wildcards ('%?%'). Ends in kSampleCut where it was over the limit.
[[nodiscard]] std::string redacted_sample(std::string_view sql,
                                          std::size_t limit_bytes = kSampleLimit_bytes);

}  // namespace mcp::sqlite
