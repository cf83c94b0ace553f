# A room is a folder under cpp/ and one target, mcp_<room>. It may include only itself and the
# rooms that it names; scripts/arrows.py holds the sources to that. WITHOUT leaves out the sources
# and tests whose names start with the prefix.
#
# With MCP_UNITY a room is compiled as one unit, its tests as another: most of what compiling takes is reading headers.
# So names in anonymous namespaces differ within a room, and within its tests.
set(MCP_ROOMS "")

function(mcp_one_unit target)
  # The largest rooms are two, one for each of two cores.
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${MCP_UNITY} UNITY_BUILD_BATCH_SIZE 16)
endfunction()

function(mcp_room name)
  cmake_parse_arguments(ARG "" "WITHOUT" "ROOMS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/${name}/*.cpp")
  if(ARG_WITHOUT)
    list(FILTER sources EXCLUDE REGEX "/${ARG_WITHOUT}[^/]*$")
    set(MCP_${name}_WITHOUT ${ARG_WITHOUT} PARENT_SCOPE)
  endif()
  list(TRANSFORM ARG_ROOMS PREPEND mcp_)
  if(sources)
    add_library(mcp_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(mcp_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_link_libraries(mcp_${name} ${scope} mcp_options ${ARG_ROOMS} ${ARG_LINK})
  if(sources)
    mcp_one_unit(mcp_${name})
  endif()
  set(MCP_ROOMS ${MCP_ROOMS} ${name} PARENT_SCOPE)
endfunction()

# One test program a room, from tests/cpp/<room>/*_test.cpp.
function(mcp_room_tests name)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/tests/cpp/${name}/*_test.cpp")
  if(MCP_${name}_WITHOUT)
    list(FILTER sources EXCLUDE REGEX "/${MCP_${name}_WITHOUT}[^/]*$")
  endif()
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_include_directories(${name}_test PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/tests/cpp")
  target_link_libraries(${name}_test PRIVATE mcp_${name} GTest::gtest_main)
  # What is tested is compiled as it ships; the tests themselves need not be fast, but quick to build.
  target_compile_options(${name}_test PRIVATE $<$<CONFIG:Release>:-O1>)
  mcp_one_unit(${name}_test)
  # A process a test would mostly start and end.
  add_test(NAME ${name} COMMAND ${name}_test --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES TIMEOUT 600)
endfunction()
