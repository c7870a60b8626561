# Flags that every target of the project gets through mt_flags. Third-party headers are system headers,
# so these warnings speak of our own code only.
include(CheckCCompilerFlag)
include(CheckLinkerFlag)

add_library(mt_flags INTERFACE)
target_compile_definitions(mt_flags INTERFACE _GNU_SOURCE)
target_include_directories(mt_flags INTERFACE
  ${PROJECT_SOURCE_DIR}/memory_tracker ${PROJECT_BINARY_DIR}/generated)
target_compile_options(mt_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wvla -Wformat=2)
if(MT_WERROR)
  target_compile_options(mt_flags INTERFACE -Werror)
endif()

# Debian's hardening, as dpkg-buildflags hardening=+all gives it
target_compile_options(mt_flags INTERFACE -fstack-protector-strong -Werror=format-security)
check_c_compiler_flag(-fstack-clash-protection MT_HAVE_STACK_CLASH)
if(MT_HAVE_STACK_CLASH)
  target_compile_options(mt_flags INTERFACE -fstack-clash-protection)
endif()
check_c_compiler_flag(-fcf-protection MT_HAVE_CF_PROTECTION)
if(MT_HAVE_CF_PROTECTION)
  target_compile_options(mt_flags INTERFACE -fcf-protection)
endif()
if(NOT MT_SANITIZE)
  # fortification needs an optimising build and hides from the sanitizers what they look for
  target_compile_options(mt_flags INTERFACE
    $<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE> $<$<CONFIG:Release,RelWithDebInfo>:-D_FORTIFY_SOURCE=2>)
endif()
target_link_options(mt_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)

# sections that nothing uses do not reach the programs
target_compile_options(mt_flags INTERFACE -ffunction-sections -fdata-sections)
target_link_options(mt_flags INTERFACE -Wl,--gc-sections)

if(MT_SANITIZE)
  set(MT_STATIC_SAMPLER OFF CACHE BOOL "" FORCE)
  target_compile_options(mt_flags INTERFACE -fsanitize=${MT_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(mt_flags INTERFACE -fsanitize=${MT_SANITIZE})
  # a third of the time, and these programs stay here
  check_linker_flag(C -fuse-ld=gold MT_HAVE_GOLD)
  if(MT_HAVE_GOLD)
    target_link_options(mt_flags INTERFACE -fuse-ld=gold)
  endif()
endif()

if(MT_FUZZ)
  # the libraries report which branches they take; the fuzzers themselves link libFuzzer
  target_compile_options(mt_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(MT_COVERAGE)
  target_link_options(mt_flags INTERFACE --coverage)
endif()

# mt_count_lines(): what this folder's CMakeLists.txt builds counts which of its lines run
macro(mt_count_lines)
  add_compile_options(--coverage -fprofile-update=atomic)
  if(CMAKE_C_COMPILER_LAUNCHER MATCHES "ccache$")
    # the objects name the place where they were made, so none may come from another checkout
    set(CMAKE_C_COMPILER_LAUNCHER env -u CCACHE_NOHASHDIR -u CCACHE_BASEDIR ${CMAKE_C_COMPILER_LAUNCHER})
  endif()
endmacro()

# mt_folder_library(NAME FOLDER [LIBRARY...]): a folder of memory_tracker/ is a static library of all
# its .c files but main.c; the libraries named are the only folders below it that it may use.
function(mt_folder_library name folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.c)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC mt_flags ${ARGN})
endfunction()

# mt_store_module(NAME LIBRARY...): a kind of store that is loaded when a URI asks for it, from all .c
# files of store/NAME. It carries its own copy of what it uses below and shows the program one symbol.
function(mt_store_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/store/${name}/*.c)
  if(NOT sources)
    return()
  endif()
  add_library(memory-tracker-store-${name} MODULE ${sources})
  set_target_properties(memory-tracker-store-${name} PROPERTIES PREFIX ""
    C_VISIBILITY_PRESET hidden LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/modules)
  target_link_libraries(memory-tracker-store-${name} PRIVATE mt_store ${ARGN})
  target_link_options(memory-tracker-store-${name} PRIVATE -Wl,--exclude-libs,ALL)
  install(TARGETS memory-tracker-store-${name} LIBRARY DESTINATION lib/memory-tracker)
endfunction()
