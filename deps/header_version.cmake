# Some packages tell no version, their headers always do: puts together what
# `header` defines as PREFIX_MAJOR, PREFIX_MINOR and PREFIX_PATCH.
function(dusk_header_version header prefix ret_version)
  file(READ ${header} text)
  foreach(part MAJOR MINOR PATCH)
    if(text MATCHES "#define ${prefix}_${part} ([0-9]+)")
      list(APPEND version ${CMAKE_MATCH_1})
    endif()
  endforeach()
  list(JOIN version . version)
  set(${ret_version} "${version}" PARENT_SCOPE)
endfunction()

# The same for the package that gave `target`.
function(dusk_target_version target header prefix ret_version)
  get_target_property(dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
  foreach(dir IN LISTS dirs)
    if(EXISTS ${dir}/${header})
      dusk_header_version(${dir}/${header} ${prefix} version)
      break()
    endif()
  endforeach()
  set(${ret_version} "${version}" PARENT_SCOPE)
endfunction()
