/* A library's kernels, compiled once: what the driver made of their source is kept in a file.
 *
 * edgetvm.keep_kernels(library, folder) takes a library's kernels as they lie in `folder`, or compiles them
 * and puts them there. It returns the file's name, which no other source, device or driver shares, and an
 * empty one where the driver gives no binaries. A file that the driver refuses is removed.
 */
#include <cstdio>
#include <fstream>
#include <iterator>

namespace tvm {
namespace runtime {
namespace {

/* FNV-1a: equal in every build, unlike std::hash. */
uint64_t digest(const std::string& text) {
  uint64_t value = 14695981039346656037u;
  for (unsigned char byte : text) value = (value ^ byte) * 1099511628211u;
  return value;
}

std::string kernels_name(Module kernels) {
  cl::OpenCLWorkspace* workspace = cl::OpenCLWorkspace::Global();
  workspace->Init();
  cl_device_id device = workspace->GetCLDeviceID(workspace->GetThreadEntry()->device.device_id);
  std::string text = kernels->GetSource();
  for (cl_device_info what : {CL_DEVICE_NAME, CL_DEVICE_VERSION, CL_DRIVER_VERSION})
    text += '\n' + cl::GetDeviceInfo(device, what);
  char name[32];
  std::snprintf(name, sizeof name, "%016llx.kernels", static_cast<unsigned long long>(digest(text)));
  return name;
}

bool take_kernels(Module kernels, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  try {
    kernels.GetFunction("opencl.SetPreCompiledPrograms")(
        TVMByteArray{bytes.data(), bytes.size()});
  } catch (...) {
    std::remove(path.c_str());
    throw;
  }
  return true;
}

/* Whether the driver gave its binaries and they could be written. */
bool compile_kernels(Module kernels, const std::string& path) {
  std::string bytes;
  try {
    bytes = kernels.GetFunction("opencl.GetPreCompiledPrograms")().operator std::string();
  } catch (const Error&) {
    return false;
  }
  std::string whole = path + ".new";
  std::ofstream file(whole, std::ios::binary);
  file.write(bytes.data(), bytes.size());
  file.close();
  if (file && std::rename(whole.c_str(), path.c_str()) == 0) return true;
  std::remove(whole.c_str());
  return false;
}

/* The module below `library` whose functions are OpenCL's kernels; undefined if there is none. */
Module find_kernels(Module library) {
  if (std::string(library->type_key()) == "opencl") return library;
  for (Module imported : library->imports()) {
    Module found = find_kernels(imported);
    if (found.defined()) return found;
  }
  return Module();
}

String keep_kernels(Module library, String folder) {
  Module kernels = find_kernels(library);
  if (!kernels.defined()) return "";
  std::string name = kernels_name(kernels), path = std::string(folder) + '/' + name;
  return take_kernels(kernels, path) || compile_kernels(kernels, path) ? name : "";
}

TVM_REGISTER_GLOBAL("edgetvm.keep_kernels").set_body_typed(keep_kernels);

}  // namespace
}  // namespace runtime
}  // namespace tvm
