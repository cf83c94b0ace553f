# Linux and a C++20 compiler. Anything else sets MCP_STOP to a sentence that says so.
set(MCP_STOP "")
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(MCP_STOP "mcp-performance needs Linux (epoll, eventfd, timerfd); this is ${CMAKE_SYSTEM_NAME}.")
  return()
endif()

include(CheckLanguage)
set(MCP_HAVE_COMPILER ON)
foreach(language C CXX)
  check_language(${language})
  if(NOT CMAKE_${language}_COMPILER)
    set(MCP_HAVE_COMPILER OFF)  # what to install is said in Dependencies.cmake
    return()
  endif()
  enable_language(${language})
endforeach()

include(CheckCXXSymbolExists)
check_cxx_symbol_exists(__GLIBC__ "features.h" MCP_HAVE_GLIBC)
set(MCP_COMPILER_IS_NEW ON)
if((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
   OR (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14))
  set(MCP_COMPILER_IS_NEW OFF)  # what to install is said there too
endif()
