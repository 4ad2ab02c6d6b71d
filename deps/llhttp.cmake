# dusk_find_llhttp(WAY...): llhttp as the target dusk_llhttp, and what it is in
# DUSK_LLHTTP_VERSION; or no target, and DUSK_LLHTTP_MISSING says what to do.
# The ways:
#   package    an installed llhttp 9 or later, by its CMake package;
#   pkgconfig  the same by pkg-config;
#   sources    the C sources that Debian 12's package node-llhttp carries (8.1),
#              compiled in strict mode into a library of our own. Strict mode
#              changes the header too, so it is part of dusk_llhttp's interface.
# Installed beside dusk's CMake package where dusk was built with an installed
# llhttp: by the first two ways the package finds that again.
include(${CMAKE_CURRENT_LIST_DIR}/header_version.cmake)
set(DUSK_LLHTTP_MIN 9)
set(DUSK_LLHTTP_SOURCES_MIN 8.1)

function(dusk_llhttp_by_package)
  find_package(llhttp CONFIG QUIET)
  foreach(target llhttp::llhttp llhttp::llhttp_shared llhttp::llhttp_static)
    if(NOT TARGET ${target})
      continue()
    endif()
    dusk_target_version(${target} llhttp.h LLHTTP_VERSION version)
    if(version VERSION_GREATER_EQUAL DUSK_LLHTTP_MIN)
      add_library(dusk_llhttp INTERFACE IMPORTED)
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
    add_library(dusk_llhttp INTERFACE IMPORTED)
    target_link_libraries(dusk_llhttp INTERFACE PkgConfig::DUSK_PC_LLHTTP)
    set(DUSK_LLHTTP_VERSION ${DUSK_PC_LLHTTP_VERSION} PARENT_SCOPE)
  endif()
endfunction()

# What becomes part of our library mustn't meet another llhttp in the program
# that it is linked into: every function is renamed to dusk__..., by a header
# that is included first.
function(dusk_llhttp_rename ret_header)
  set(names "")
  foreach(file IN LISTS ARGN)
    file(READ ${file} text)
    string(REGEX MATCHALL "llhttp_[a-z0-9_]+\\(" calls "${text}")
    list(APPEND names ${calls})
  endforeach()
  list(REMOVE_DUPLICATES names)
  list(TRANSFORM names REPLACE "(.*)\\(" "#define \\1 dusk__\\1")
  list(JOIN names "\n" text)
  set(header ${PROJECT_BINARY_DIR}/deps/llhttp_names.h)
  file(CONFIGURE OUTPUT ${header} CONTENT "${text}\n" @ONLY)
  set(${ret_header} ${header} PARENT_SCOPE)
endfunction()

# The objects of dusk_llhttp_objects go into the libraries that are installed.
function(dusk_llhttp_by_sources)
  set(DUSK_LLHTTP_PREFIX "" CACHE PATH
    "Where share/llhttp and share/include/llhttp lie; else /usr/local or /usr")
  set(prefixes /usr/local /usr)
  if(DUSK_LLHTTP_PREFIX)
    set(prefixes ${DUSK_LLHTTP_PREFIX})
  endif()
  foreach(prefix IN LISTS prefixes)
    set(folder ${prefix}/share/llhttp)
    set(include ${prefix}/share/include/llhttp)
    set(header ${include}/llhttp.h)
    if(NOT EXISTS ${folder}/llhttp.c OR NOT EXISTS ${header})
      continue()
    endif()
    dusk_header_version(${header} LLHTTP_VERSION version)
    if(version VERSION_LESS DUSK_LLHTTP_SOURCES_MIN)
      continue()
    endif()
    set(sources ${folder}/llhttp.c ${folder}/api.c ${folder}/http.c)
    dusk_llhttp_rename(names ${header} ${sources})
    add_library(dusk_llhttp STATIC EXCLUDE_FROM_ALL ${sources})
    add_library(dusk_llhttp_objects OBJECT EXCLUDE_FROM_ALL ${sources})
    set_target_properties(dusk_llhttp_objects PROPERTIES
      POSITION_INDEPENDENT_CODE ON
      INTERPROCEDURAL_OPTIMIZATION OFF)
    foreach(target dusk_llhttp dusk_llhttp_objects)
      set_target_properties(${target} PROPERTIES C_VISIBILITY_PRESET hidden)
      target_include_directories(${target} SYSTEM PUBLIC ${include})
      target_compile_definitions(${target} PUBLIC LLHTTP_STRICT_MODE=1)
      target_compile_options(${target} PUBLIC "SHELL:-include \"${names}\""
        PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O3>) # one large function, all hot
      dusk_sanitize(${target})
    endforeach()
    set(DUSK_LLHTTP_VERSION "${version} (strict)" PARENT_SCOPE)
    return()
  endforeach()
endfunction()

set(DUSK_LLHTTP_MISSING
  "llhttp ${DUSK_LLHTTP_MIN} or later, or the C sources of \
${DUSK_LLHTTP_SOURCES_MIN}, are needed for HTTP, and neither was found. \
Run deps/install, or install:
  Debian, Ubuntu  libllhttp-dev; before Debian 13: node-llhttp
  Fedora          llhttp-devel
  Alpine          llhttp-dev
  Homebrew        llhttp
or name the sources' prefix: -DDUSK_LLHTTP_PREFIX=DIR
or build the context module alone: -DDUSK_HTTP=OFF")

macro(dusk_find_llhttp)
  foreach(dusk_way IN ITEMS ${ARGN})
    if(NOT TARGET dusk_llhttp)
      cmake_language(CALL dusk_llhttp_by_${dusk_way})
    endif()
  endforeach()
endmacro()
