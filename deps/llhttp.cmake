# llhttp as the target dusk_llhttp, and in DUSK_LLHTTP_VERSION what it is. In
# this order:
#   1. an installed llhttp 9 or later, by its CMake package;
#   2. the same by pkg-config;
#   3. the C sources that Debian 12's package node-llhttp carries (8.1),
#      compiled in strict mode into a library of our own. Strict mode changes
#      the header too, so it is part of dusk_llhttp's interface.
include(${CMAKE_CURRENT_LIST_DIR}/header_version.cmake)
set(DUSK_LLHTTP_MIN 9)
set(DUSK_LLHTTP_SOURCES_MIN 8.1)
set(DUSK_LLHTTP_PREFIX "" CACHE PATH
  "Where share/llhttp and share/include/llhttp lie, beside /usr/local and /usr")

function(dusk_llhttp_by_package)
  find_package(llhttp CONFIG QUIET)
  foreach(target llhttp::llhttp llhttp::llhttp_shared llhttp::llhttp_static)
    if(NOT TARGET ${target})
      continue()
    endif()
    dusk_target_version(${target} llhttp.h LLHTTP_VERSION version)
    if(version VERSION_GREATER_EQUAL DUSK_LLHTTP_MIN)
      add_library(dusk_llhttp INTERFACE)
      target_link_libraries(dusk_llhttp INTERFACE ${target})
      set(DUSK_LLHTTP_VERSION ${version} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

function(dusk_llhttp_by_pkgconfig)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(DUSK_PC_LLHTTP QUIET IMPORTED_TARGET
      libllhttp>=${DUSK_LLHTTP_MIN})
  endif()
  if(DUSK_PC_LLHTTP_FOUND)
    add_library(dusk_llhttp INTERFACE)
    target_link_libraries(dusk_llhttp INTERFACE PkgConfig::DUSK_PC_LLHTTP)
    set(DUSK_LLHTTP_VERSION ${DUSK_PC_LLHTTP_VERSION} PARENT_SCOPE)
  endif()
endfunction()

function(dusk_llhttp_by_sources)
  foreach(prefix IN ITEMS ${DUSK_LLHTTP_PREFIX} /usr/local /usr)
    set(sources ${prefix}/share/llhttp)
    set(include ${prefix}/share/include/llhttp)
    if(NOT EXISTS ${sources}/llhttp.c OR NOT EXISTS ${include}/llhttp.h)
      continue()
    endif()
    dusk_header_version(${include}/llhttp.h LLHTTP_VERSION version)
    if(version VERSION_LESS DUSK_LLHTTP_SOURCES_MIN)
      continue()
    endif()
    add_library(dusk_llhttp STATIC
      ${sources}/llhttp.c ${sources}/api.c ${sources}/http.c)
    set_target_properties(dusk_llhttp PROPERTIES
      POSITION_INDEPENDENT_CODE "${BUILD_SHARED_LIBS}"
      C_VISIBILITY_PRESET hidden)
    target_include_directories(dusk_llhttp SYSTEM PUBLIC ${include})
    target_compile_definitions(dusk_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
    dusk_sanitize(dusk_llhttp)
    set(DUSK_LLHTTP_VERSION "${version} (strict)" PARENT_SCOPE)
    return()
  endforeach()
endfunction()

foreach(way package pkgconfig sources)
  if(NOT TARGET dusk_llhttp)
    cmake_language(CALL dusk_llhttp_by_${way})
  endif()
endforeach()
if(NOT TARGET dusk_llhttp)
  message(FATAL_ERROR
    "llhttp ${DUSK_LLHTTP_MIN} or later, or the C sources of "
    "${DUSK_LLHTTP_SOURCES_MIN}, are needed, and neither was found. "
    "Run deps/install, or install:\n"
    "  Debian, Ubuntu  libllhttp-dev; before Debian 13: node-llhttp\n"
    "  Fedora          llhttp-devel\n"
    "  Alpine          llhttp-dev\n"
    "  Homebrew        llhttp\n"
    "or name the sources' prefix: -DDUSK_LLHTTP_PREFIX=DIR")
endif()
message(STATUS "llhttp ${DUSK_LLHTTP_VERSION}")
