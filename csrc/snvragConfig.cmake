# find_package(snvrag CONFIG) gives the target snvrag::cpu, the C++ library with its headers.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/snvragTargets.cmake)
