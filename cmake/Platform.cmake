# Linux with glibc and a C++20 compiler; anything else stops here with a sentence.
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(FATAL_ERROR "mcp-performance needs Linux (epoll, eventfd, timerfd); this is ${CMAKE_SYSTEM_NAME}.")
endif()

include(CheckCXXSymbolExists)
check_cxx_symbol_exists(__GLIBC__ "features.h" MCP_HAVE_GLIBC)
if(NOT MCP_HAVE_GLIBC)
  message(FATAL_ERROR "mcp-performance needs glibc; musl and other C libraries are not supported.")
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "mcp-performance needs g++ 12 or newer; found ${CMAKE_CXX_COMPILER_VERSION}.")
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  message(FATAL_ERROR "mcp-performance needs clang 14 or newer; found ${CMAKE_CXX_COMPILER_VERSION}.")
endif()
