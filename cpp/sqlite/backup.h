// backup.h: copies a database page by page.
#pragma once

#include <string>

#include "sqlite/connection.h"

namespace mcp::sqlite {

// Copies what `from` reads to the file `path`, replacing what is there, from one snapshot: writers
// go on meanwhile. Throws Error, and Stopped when the operation was stopped between two slices of
// pages. Then a transaction may be left open on `from`, and the file is no database.
void copy_database(Connection& from, const std::string& path, const Operation& operation);

}  // namespace mcp::sqlite
