# A part's libraries. dusk::PART is dusk_PART: static, and compiled as this
# build wants it. Beside it are two for others, which any compiler can link
# anywhere, since they are position-independent and not optimised across files:
#   dusk_PART_shared   dusk::PART_shared, in this build and installed
#   dusk_PART_archive  the static one, which is installed as dusk::PART
if(DUSK_INSTALL)
  include(GNUInstallDirs)
endif()

# dusk_add_twins(PART FILE): those two for dusk_PART, as libFILE. What they link
# is told by the part.
function(dusk_add_twins part file)
  set(shared dusk_${part}_shared)
  set(archive dusk_${part}_archive)
  get_target_property(sources dusk_${part} SOURCES)
  add_library(${shared} SHARED ${sources})
  add_library(${archive} STATIC $<TARGET_OBJECTS:${shared}>)
  add_library(dusk::${part}_shared ALIAS ${shared})

  target_compile_definitions(${shared} PRIVATE
    $<TARGET_PROPERTY:dusk_${part},COMPILE_DEFINITIONS>)
  set_target_properties(${shared} PROPERTIES
    DEFINE_SYMBOL ""
    EXPORT_NAME ${part}_shared
    INTERPROCEDURAL_OPTIMIZATION OFF
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    VERSION ${PROJECT_VERSION})
  set_target_properties(${archive} PROPERTIES
    EXPORT_NAME ${part}
    LINKER_LANGUAGE C)
  foreach(target ${shared} ${archive})
    dusk_own_target(${target})
    target_include_directories(${target} PUBLIC
      $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>)
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${file})
    if(NOT DUSK_INSTALL AND NOT DUSK_TESTS)
      set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
  endforeach()
endfunction()

# dusk_install_part(PART FILE DESCRIPTION REQUIRES REQUIRES_PRIVATE): installs
# the twins, the part's headers, its targets file for the CMake package, and
# FILE.pc with the two lists of what it requires.
function(dusk_install_part part file description requires requires_private)
  if(NOT DUSK_INSTALL)
    return()
  endif()
  install(TARGETS dusk_${part}_shared dusk_${part}_archive
    EXPORT dusk_${part}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(DIRECTORY include/dusk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN *.h)
  install(EXPORT dusk_${part} FILE dusk-${part}-targets.cmake
    NAMESPACE dusk:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/dusk)

  # Paths below the prefix are told from where the file lies, so that the
  # prefix may be moved.
  foreach(dir lib include)
    string(TOUPPER CMAKE_INSTALL_${dir}DIR variable)
    set(${dir}dir ${${variable}})
    if(NOT IS_ABSOLUTE ${${dir}dir})
      string(PREPEND ${dir}dir "\${prefix}/")
    endif()
  endforeach()
  set(prefix ${CMAKE_INSTALL_PREFIX})
  if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
    file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "/$" "" prefix "\${pcfiledir}/${up}")
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/src/package/part.pc.in ${file}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${file}.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
