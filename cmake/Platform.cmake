# Linux with glibc and a C++20 compiler. Anything else sets MCP_STOP to a sentence that says so.
set(MCP_STOP "")
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(MCP_STOP "mcp-performance needs Linux (epoll, eventfd, timerfd); this is ${CMAKE_SYSTEM_NAME}.")
  return()
endif()

include(CheckLanguage)
foreach(language C CXX)
  check_language(${language})
  if(NOT CMAKE_${language}_COMPILER)
    set(MCP_STOP "mcp-performance is built from source here, and there is no C++ compiler:\n
      Debian, Ubuntu: apt-get install g++
      Fedora, RHEL:   dnf install gcc-c++
      Alpine:         apk add g++
      macOS:          xcode-select --install\n
A wheel needs none: pip install --only-binary mcp-performance mcp-performance")
    return()
  endif()
  enable_language(${language})
endforeach()

include(CheckCXXSymbolExists)
check_cxx_symbol_exists(__GLIBC__ "features.h" MCP_HAVE_GLIBC)
if(NOT MCP_HAVE_GLIBC)
  set(MCP_STOP "mcp-performance needs glibc; musl and other C libraries are not supported.")
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
  set(MCP_STOP "mcp-performance needs g++ 12 or newer; found ${CMAKE_CXX_COMPILER_VERSION}.")
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  set(MCP_STOP "mcp-performance needs clang 14 or newer; found ${CMAKE_CXX_COMPILER_VERSION}.")
endif()
