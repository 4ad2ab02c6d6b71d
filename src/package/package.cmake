# dusk_install_package(): the CMake package, which each part puts its targets
# into.
function(dusk_install_package)
  include(CMakePackageConfigHelpers)
  set(parts context)
  set(files deps/header_version.cmake deps/libuv.cmake)
  set(needs_llhttp OFF)
  if(DUSK_HTTP)
    list(APPEND parts http)
    # Else it is inside of our library.
    if(NOT TARGET dusk_llhttp_objects)
      set(needs_llhttp ON)
      list(APPEND files deps/llhttp.cmake)
    endif()
  endif()
  set(config ${PROJECT_BINARY_DIR}/dusk-config.cmake)
  set(version ${PROJECT_BINARY_DIR}/dusk-config-version.cmake)
  configure_file(src/package/dusk-config.cmake.in ${config} @ONLY)
  write_basic_package_version_file(${version} COMPATIBILITY SameMinorVersion)
  install(FILES ${config} ${version} ${files}
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/dusk)
endfunction()
