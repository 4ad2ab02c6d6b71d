# dusk_find_libuv(): libuv 1.44 or later as the target dusk_libuv, by its CMake
# package, else by pkg-config; or no target, and DUSK_LIBUV_MISSING says what to
# do. Installed beside dusk's CMake package, which finds it in the same way.
include(${CMAKE_CURRENT_LIST_DIR}/header_version.cmake)
set(DUSK_LIBUV_MIN 1.44)

function(dusk_libuv_by_package)
  find_package(libuv CONFIG QUIET)
  foreach(target libuv::uv libuv::libuv libuv::uv_a)
    if(NOT TARGET ${target})
      continue()
    endif()
    dusk_target_version(${target} uv/version.h UV_VERSION version)
    if(version VERSION_GREATER_EQUAL DUSK_LIBUV_MIN)
      add_library(dusk_libuv INTERFACE IMPORTED)
      target_link_libraries(dusk_libuv INTERFACE ${target})
      set(DUSK_LIBUV_VERSION ${version} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

function(dusk_libuv_by_pkgconfig)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(DUSK_PC_LIBUV QUIET IMPORTED_TARGET
      libuv>=${DUSK_LIBUV_MIN})
  endif()
  if(DUSK_PC_LIBUV_FOUND)
    add_library(dusk_libuv INTERFACE IMPORTED)
    target_link_libraries(dusk_libuv INTERFACE PkgConfig::DUSK_PC_LIBUV)
    set(DUSK_LIBUV_VERSION ${DUSK_PC_LIBUV_VERSION} PARENT_SCOPE)
  endif()
endfunction()

set(DUSK_LIBUV_MISSING
  "libuv ${DUSK_LIBUV_MIN} or later is needed, and was found neither as a \
CMake package nor by pkg-config. Run deps/install, or install:
  Debian, Ubuntu  libuv1-dev pkgconf
  Fedora          libuv-devel pkgconf-pkg-config
  Alpine          libuv-dev pkgconf
  Homebrew        libuv pkgconf")

macro(dusk_find_libuv)
  foreach(dusk_way package pkgconfig)
    if(NOT TARGET dusk_libuv)
      cmake_language(CALL dusk_libuv_by_${dusk_way})
    endif()
  endforeach()
endmacro()
