# Sets SNVRAG_COMMIT, at every configuration: the commit of this checkout, with -dirty after changes,
# or "unknown" without Git or a repository. One further up the tree is another project's.
get_filename_component(checkout ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
set(SNVRAG_COMMIT "")
find_package(Git QUIET)
if(Git_FOUND AND EXISTS ${checkout}/.git)
  execute_process(COMMAND ${GIT_EXECUTABLE} describe --always --dirty --exclude=*
    WORKING_DIRECTORY ${checkout} OUTPUT_VARIABLE SNVRAG_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT SNVRAG_COMMIT)
  set(SNVRAG_COMMIT unknown)
endif()
message(STATUS "snvrag: commit ${SNVRAG_COMMIT}")
