# What the build needs besides Linux and a compiler. All that is missing is named in one message, MCP_STOP, with one command
# for each system. Where there is no compiler nothing can be looked for, so all that a build needs is named.
set(MCP_MISSING "")
set(MCP_SYSTEMS debian fedora alpine macos)

# mcp_need(FOUND "SQLite 3.37" debian libsqlite3-dev fedora sqlite-devel alpine sqlite-dev macos sqlite)
function(mcp_need found what)
  cmake_parse_arguments(ARG "" "${MCP_SYSTEMS}" "" ${ARGN})
  if(NOT ${found})
    set(MCP_MISSING "${MCP_MISSING}  - ${what}\n" PARENT_SCOPE)
    foreach(system IN LISTS MCP_SYSTEMS)
      set(MCP_OF_${system} "${MCP_OF_${system}} ${ARG_${system}}" PARENT_SCOPE)
    endforeach()
  endif()
endfunction()

if(MCP_HAVE_COMPILER)
  find_package(Threads REQUIRED)
  find_package(PkgConfig QUIET)
  find_package(SQLite3 3.37 QUIET)
  find_package(spdlog QUIET)
  find_package(OpenSSL 3 QUIET)
  find_package(ZLIB QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(HIREDIS QUIET IMPORTED_TARGET hiredis)
    if(MCP_WITH_HTTP2)
      pkg_check_modules(NGHTTP2 QUIET IMPORTED_TARGET libnghttp2)
    endif()
  endif()
endif()

mcp_need(MCP_HAVE_COMPILER "a C++20 compiler: g++ 12, clang 14 or newer" debian g++ fedora gcc-c++ alpine g++ macos llvm)
if(MCP_HAVE_COMPILER)
  mcp_need(MCP_COMPILER_IS_NEW
           "a newer C++20 compiler: g++ 12, clang 14 or newer; ${CMAKE_CXX_COMPILER} is ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, and CC= and CXX= name another"
           debian g++-12 fedora gcc-toolset-12-gcc-c++ alpine g++ macos llvm)
endif()
mcp_need(PkgConfig_FOUND "pkg-config" debian pkg-config fedora pkgconf-pkg-config alpine pkgconf macos pkgconf)
mcp_need(SQLite3_FOUND "SQLite 3.37 or newer, with its header" debian libsqlite3-dev fedora sqlite-devel
         alpine sqlite-dev macos sqlite)
mcp_need(spdlog_FOUND "spdlog" debian libspdlog-dev fedora spdlog-devel alpine spdlog-dev macos spdlog)
mcp_need(OPENSSL_FOUND "OpenSSL 3, with its headers" debian libssl-dev fedora openssl-devel alpine openssl-dev
         macos openssl@3)
mcp_need(ZLIB_FOUND "zlib, with its header" debian zlib1g-dev fedora zlib-devel alpine zlib-dev macos zlib)
mcp_need(HIREDIS_FOUND "hiredis, with its headers" debian libhiredis-dev fedora hiredis-devel alpine hiredis-dev
         macos hiredis)
if(MCP_WITH_HTTP2 AND NOT NGHTTP2_FOUND)
  if(MCP_WHEEL)
    mcp_need(NGHTTP2_FOUND "nghttp2, with its headers" debian libnghttp2-dev fedora libnghttp2-devel alpine nghttp2-dev
             macos libnghttp2)
  else()
    message(STATUS "libnghttp2 was not found: there is no HTTP/2")
  endif()
endif()

if(MCP_WITH_TBB)
  if(MCP_HAVE_COMPILER)
    find_package(TBB 2021 QUIET)
  endif()
  mcp_need(TBB_FOUND "oneTBB 2021 or newer" debian libtbb-dev fedora tbb-devel alpine onetbb-dev macos tbb)
endif()

if(MCP_BUILD_BINDINGS)
  if(MCP_HAVE_COMPILER)
    find_package(Python 3.11 QUIET COMPONENTS Interpreter Development.Module)
  endif()
  mcp_need(Python_FOUND "the headers of Python 3.11 or newer" debian python3-dev fedora python3-devel alpine python3-dev
           macos python)
  if(Python_FOUND)
    set(PYBIND11_FINDPYTHON ON)
    find_package(pybind11 3 CONFIG QUIET)
    if(NOT pybind11_FOUND)
      set(MCP_MISSING "${MCP_MISSING}  - pybind11 3, of pip: pip install scikit-build-core 'pybind11>=3' (without --no-build-isolation pip brings both)\n")
    endif()
  endif()
endif()

if(MCP_BUILD_TESTS)
  if(MCP_HAVE_COMPILER)
    find_package(GTest QUIET)
  endif()
  mcp_need(GTest_FOUND "GoogleTest" debian libgtest-dev fedora gtest-devel alpine gtest-dev macos googletest)
endif()

if(MCP_MISSING)
  set(why "and this is missing:")
  if(NOT MCP_HAVE_COMPILER)
    set(why "there is no C++ compiler, and this is needed:")
  endif()
  set(commands "")
  if(MCP_OF_debian)
    set(commands "
  Debian, Ubuntu: apt-get install${MCP_OF_debian}
  Fedora, RHEL:   dnf install${MCP_OF_fedora}
  Alpine:         apk add${MCP_OF_alpine}
  macOS:          brew install${MCP_OF_macos}\n")
  endif()
  set(MCP_STOP "mcp-performance is built from source here, ${why}\n\n${MCP_MISSING}${commands}
A wheel needs none of it: pip install --only-binary mcp-performance mcp-performance")
endif()
