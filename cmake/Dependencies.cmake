# What the build needs besides a compiler. All that is missing is named in one message, MCP_STOP, with
# the package that has it on each system.
set(MCP_MISSING "")

# mcp_missing("SQLite 3.37" debian libsqlite3-dev fedora sqlite-devel alpine sqlite-dev macos sqlite)
function(mcp_missing what)
  cmake_parse_arguments(ARG "" "debian;fedora;alpine;macos" "" ${ARGN})
  set(text "  ${what}\n      Debian, Ubuntu: apt-get install ${ARG_debian}\n      Fedora, RHEL:   dnf install ${ARG_fedora}\n"
           "      Alpine:         apk add ${ARG_alpine}\n      macOS:          brew install ${ARG_macos}\n")
  string(CONCAT text ${text})
  set(MCP_MISSING "${MCP_MISSING}${text}" PARENT_SCOPE)
endfunction()

find_package(Threads REQUIRED)
find_package(PkgConfig QUIET)
if(NOT PkgConfig_FOUND)
  mcp_missing("pkg-config" debian pkg-config fedora pkgconf-pkg-config alpine pkgconf macos pkgconf)
endif()

find_package(SQLite3 3.37 QUIET)
if(NOT SQLite3_FOUND)
  mcp_missing("SQLite 3.37 or newer, with its header" debian libsqlite3-dev fedora sqlite-devel
              alpine sqlite-dev macos sqlite)
endif()

find_package(spdlog QUIET)
if(NOT spdlog_FOUND)
  mcp_missing("spdlog" debian libspdlog-dev fedora spdlog-devel alpine spdlog-dev macos spdlog)
endif()

find_package(OpenSSL 3 QUIET)
if(NOT OPENSSL_FOUND)
  mcp_missing("OpenSSL 3, with its headers" debian libssl-dev fedora openssl-devel alpine openssl-dev macos openssl@3)
endif()

find_package(ZLIB QUIET)
if(NOT ZLIB_FOUND)
  mcp_missing("zlib, with its header" debian zlib1g-dev fedora zlib-devel alpine zlib-dev macos zlib)
endif()

if(PkgConfig_FOUND)
  pkg_check_modules(HIREDIS QUIET IMPORTED_TARGET hiredis)
  if(MCP_WITH_HTTP2)
    pkg_check_modules(NGHTTP2 QUIET IMPORTED_TARGET libnghttp2)
  endif()
endif()
if(NOT HIREDIS_FOUND)
  mcp_missing("hiredis, with its headers" debian libhiredis-dev fedora hiredis-devel alpine hiredis-dev macos hiredis)
endif()
if(MCP_WITH_HTTP2 AND NOT NGHTTP2_FOUND)
  if(MCP_WHEEL)
    mcp_missing("nghttp2, with its headers" debian libnghttp2-dev fedora libnghttp2-devel alpine nghttp2-dev macos
                libnghttp2)
  else()
    message(STATUS "libnghttp2 was not found: there is no HTTP/2")
  endif()
endif()

if(MCP_WITH_TBB)
  find_package(TBB 2021 QUIET)
  if(NOT TBB_FOUND)
    mcp_missing("oneTBB 2021 or newer" debian libtbb-dev fedora tbb-devel alpine onetbb-dev macos tbb)
  endif()
endif()

if(MCP_BUILD_BINDINGS)
  find_package(Python 3.11 QUIET COMPONENTS Interpreter Development.Module)
  if(NOT Python_FOUND)
    mcp_missing("the headers of Python 3.11 or newer" debian python3-dev fedora python3-devel alpine python3-dev macos
                python)
  endif()
endif()

if(MCP_BUILD_TESTS)
  find_package(GTest QUIET)
  if(NOT GTest_FOUND)
    mcp_missing("GoogleTest" debian libgtest-dev fedora gtest-devel alpine gtest-dev macos googletest)
  endif()
endif()

if(MCP_MISSING)
  set(MCP_STOP "mcp-performance is built from source here, and this is missing:\n\n${MCP_MISSING}
A wheel needs none of it: pip install --only-binary mcp-performance mcp-performance")
endif()
