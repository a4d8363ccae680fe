/* TVM's OpenCL runtime as a plug-in of its published one, from the sources in TVM's own package.
 *
 * Loaded into a process that has TVM's runtime, it adds OpenCL devices and modules. TVM's sources look
 * for libOpenCL.so by that name only; boards call it otherwise, so the name can be given.
 */
#include <dlfcn.h>

#include <cstdlib>

namespace {
void* open_opencl(const char* name, int mode) {
  const char* given = std::getenv("EDGETVM_LIBOPENCL");
  return dlopen(given != nullptr && *given != '\0' ? given : name, mode);
}
}  // namespace

#define dlopen open_opencl
#include "src/runtime/opencl/opencl_wrapper/opencl_wrapper.cc"
#undef dlopen

#include "src/runtime/opencl/opencl_device_api.cc"
#include "src/runtime/opencl/opencl_module.cc"
#include "src/runtime/opencl/texture_pool.cc"

#include "kept_kernels.cc"
