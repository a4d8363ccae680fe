/* Runs a bundle without Python: loads its library, checks it by the golden data, times it.
 *
 *     runner BUNDLE [--untuned] [--threads N] [--repeat N]
 *
 * Prints one line of JSON, its keys as in edgetvm's runs. Exit codes: 2 wrong arguments or a faulty
 * bundle, 3 the runtime failed, 5 the output is wrong. The only library is TVM's runtime, and for a GPU's
 * bundle its part for OpenCL, opencl.so; EDGETVM_LIBOPENCL names the driver's library where it is not called
 * libOpenCL.so. In this folder:
 *
 *     cc -std=c11 -O2 runner.c -Iinclude -L. -ltvm_runtime -lm -ldl -Wl,-rpath,'$ORIGIN' -o runner
 */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <tvm/runtime/c_runtime_api.h>
#include <unistd.h>

enum { USAGE = 2, DEVICE = 3, NUMERICS = 5, MAX_DIMENSIONS = 8, MAX_ARGUMENTS = 4 };

static const double MIN_SAMPLE_S = 0.02; /* shortest time over which one sample is averaged */

typedef struct {
  int64_t shape[MAX_DIMENSIONS];
  int dimensions;
  size_t count;
  float *values;
} Tensor;

static void fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("error: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(code);
}

static void check(int status, const char *what) {
  if (status != 0) fail(DEVICE, "%s failed: %s", what, TVMGetLastError());
}

static void *allocate(size_t bytes) {
  void *memory = malloc(bytes);
  if (memory == NULL) fail(DEVICE, "no memory left for %zu bytes.", bytes);
  return memory;
}

/* Read a whole file; a zero follows its content. */
static char *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail(USAGE, "%s cannot be opened: give the folder of a bundle.", path);
  fseek(file, 0, SEEK_END);
  long end = ftell(file);
  rewind(file);
  char *content = allocate((size_t)end + 1);
  if (end < 0 || fread(content, 1, (size_t)end, file) != (size_t)end)
    fail(USAGE, "%s cannot be read.", path);
  fclose(file);
  content[end] = 0;
  *bytes = (size_t)end;
  return content;
}

/* Read NumPy's format, version 1, of little-endian float32 in C order. */
static Tensor read_npy(const char *path) {
  Tensor tensor = {.count = 1};
  size_t bytes;
  char *content = read_file(path, &bytes);
  if (bytes < 10 || memcmp(content, "\x93NUMPY\x01", 7) != 0)
    fail(USAGE, "%s is no array of NumPy's first format.", path);
  size_t start = 10 + (unsigned char)content[8] + 256u * (unsigned char)content[9];
  char *shape = strstr(content + 10, "'shape': (");
  if (start > bytes || shape == NULL || strstr(content + 10, "'<f4'") == NULL)
    fail(USAGE, "%s holds no float32.", path);
  for (shape += strlen("'shape': ("); *shape != ')' && tensor.dimensions < MAX_DIMENSIONS;) {
    int64_t extent = strtoll(shape, &shape, 10);
    tensor.shape[tensor.dimensions++] = extent;
    tensor.count *= (size_t)extent;
    while (*shape == ',' || *shape == ' ') ++shape;
  }
  if (bytes - start != tensor.count * sizeof(float)) fail(USAGE, "%s is cut off.", path);
  tensor.values = allocate(bytes - start);
  memcpy(tensor.values, content + start, bytes - start);
  free(content);
  return tensor;
}

/* Find a key of the manifest, wherever it stands first. */
static const char *find_key(const char *manifest, const char *key) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  const char *found = strstr(manifest, quoted);
  if (found == NULL) fail(USAGE, "the manifest has no %s: build the bundle again.", key);
  return found + strlen(quoted);
}

static TVMFunctionHandle get_function(TVMModuleHandle module, const char *name) {
  TVMFunctionHandle function = NULL;
  check(TVMModGetFunction(module, name, 0, &function), name);
  if (function == NULL) fail(DEVICE, "the library has no function %s.", name);
  return function;
}

static TVMValue call(TVMFunctionHandle function, int count, const TVMValue *values,
                     const int *codes, const char *what) {
  TVMValue arguments[MAX_ARGUMENTS], result = {.v_int64 = 0};
  int argument_codes[MAX_ARGUMENTS], result_code = 0;
  memcpy(arguments, values, (size_t)count * sizeof *values);
  memcpy(argument_codes, codes, (size_t)count * sizeof *codes);
  check(TVMFuncCall(function, arguments, argument_codes, count, &result, &result_code), what);
  return result;
}

static TVMArrayHandle new_array(const Tensor *tensor) {
  TVMArrayHandle array = NULL;
  check(TVMArrayAlloc(tensor->shape, tensor->dimensions, kDLFloat, 32, 1, kDLCPU, 0, &array),
        "allocating a tensor");
  return array;
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds of one inference, as the mean of `number` run back to back. */
static double sample_s(TVMFunctionHandle run, DLDevice device, int number) {
  double started_s = now_s();
  TVMValue none = {.v_int64 = 0};
  int code = kTVMNullptr;
  for (int i = 0; i < number; ++i) call(run, 0, &none, &code, "running the network");
  check(TVMSynchronize(device.device_type, device.device_id, NULL), "waiting for the device");
  return (now_s() - started_s) / number;
}

/* The device that the bundle's kernels are for; for a GPU's, TVM's OpenCL runtime is loaded. */
static DLDevice find_device(const char *manifest) {
  const char *target = find_key(manifest, "tvm_target");
  if (strncmp(target + strspn(target, " \""), "opencl", 6) != 0)
    return (DLDevice){.device_type = kDLCPU, .device_id = 0};
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "opencl.so");
  if (length < 0) fail(DEVICE, "this program does not find its own folder.");
  while (length > 0 && path[length - 1] != '/') --length;
  strcpy(path + length, "opencl.so");
  if (dlopen(path, RTLD_NOW | RTLD_GLOBAL) == NULL) fail(DEVICE, "%s", dlerror());
  return (DLDevice){.device_type = kDLOpenCL, .device_id = 0};
}

/* Take a GPU's kernels as they were compiled before, or compile and keep them; return the seconds. */
static double keep_kernels(TVMModuleHandle library, const char *bundle) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s/kernels", bundle);
  mkdir(folder, 0777); /* fails where there is one, or nothing can be written, and then none are kept */
  TVMFunctionHandle keep = NULL;
  check(TVMFuncGetGlobal("edgetvm.keep_kernels", &keep), "finding the OpenCL runtime");
  TVMValue arguments[2] = {{.v_handle = library}, {.v_str = folder}};
  const int codes[2] = {kTVMModuleHandle, kTVMStr};
  double started_s = now_s();
  call(keep, 2, arguments, codes, "compiling the kernels");
  return now_s() - started_s;
}

/* The largest difference, relative to the reference's largest magnitude; infinite if not finite. */
static double relative_error(const float *output, const Tensor *reference) {
  double scale = 0, error = 0;
  for (size_t i = 0; i < reference->count; ++i) {
    double difference = fabs((double)output[i] - reference->values[i]);
    if (!isfinite(difference)) return INFINITY;
    if (difference > error) error = difference;
    if (fabs(reference->values[i]) > scale) scale = fabs(reference->values[i]);
  }
  return scale > 0 ? error / scale : INFINITY;
}

static double check_outputs(TVMModuleHandle executor, const char *bundle) {
  TVMValue none = {.v_int64 = 0};
  int no_code = kTVMNullptr;
  TVMFunctionHandle get_output = get_function(executor, "get_output");
  int64_t outputs = call(get_function(executor, "get_num_outputs"), 0, &none, &no_code,
                         "counting outputs").v_int64;
  double worst = 0;
  for (int64_t place = 0; place < outputs; ++place) {
    char path[4096];
    snprintf(path, sizeof path, "%s/golden/output_%d.npy", bundle, (int)place);
    Tensor golden = read_npy(path);
    TVMArrayHandle array = new_array(&golden);
    TVMValue arguments[2] = {{.v_int64 = place}, {.v_handle = array}};
    const int codes[2] = {kTVMArgInt, kTVMDLTensorHandle};
    call(get_output, 2, arguments, codes, "fetching an output");
    float *output = allocate(golden.count * sizeof(float));
    check(TVMArrayCopyToBytes(array, output, golden.count * sizeof(float)), "copying an output");
    double error = relative_error(output, &golden);
    if (error > worst) worst = error;
    free(output);
    free(golden.values);
    TVMArrayFree(array);
  }
  return worst;
}

int main(int count, char **arguments) {
  const char *bundle = NULL, *library = "library.so";
  int threads = 0, repeat = 20;
  for (int i = 1; i < count; ++i) {
    if (strcmp(arguments[i], "--untuned") == 0) library = "untuned.so";
    else if (strcmp(arguments[i], "--threads") == 0 && i + 1 < count) threads = atoi(arguments[++i]);
    else if (strcmp(arguments[i], "--repeat") == 0 && i + 1 < count) repeat = atoi(arguments[++i]);
    else if (arguments[i][0] != '-' && bundle == NULL) bundle = arguments[i];
    else fail(USAGE, "%s is unknown: runner BUNDLE [--untuned] [--threads N] [--repeat N]", arguments[i]);
  }
  if (bundle == NULL || repeat < 1 || threads < 0)
    fail(USAGE, "give the folder of a bundle: runner BUNDLE [--untuned] [--threads N] [--repeat N]");

  char path[4096];
  size_t bytes;
  snprintf(path, sizeof path, "%s/manifest.json", bundle);
  const char *manifest = read_file(path, &bytes);
  double tolerance = strtod(find_key(manifest, "tolerance"), NULL);
  if (threads == 0) threads = atoi(find_key(manifest, "threads"));
  snprintf(path, sizeof path, "%d", threads);
  setenv("TVM_NUM_THREADS", path, 1);

  DLDevice device = find_device(manifest);
  TVMModuleHandle module = NULL;
  snprintf(path, sizeof path, "%s/%s", bundle, library);
  check(TVMModLoadFromFile(path, "so", &module), path);
  char kernels_text[32] = "null";
  if (device.device_type == kDLOpenCL)
    snprintf(kernels_text, sizeof kernels_text, "%.9g", keep_kernels(module, bundle));
  TVMValue on_device[1] = {{.v_device = device}};
  const int device_code[1] = {kDLDevice};
  TVMModuleHandle executor =
      call(get_function(module, "default"), 1, on_device, device_code, "loading the network").v_handle;

  snprintf(path, sizeof path, "%s/golden/input.npy", bundle);
  Tensor input = read_npy(path);
  TVMArrayHandle data = new_array(&input);
  check(TVMArrayCopyFromBytes(data, input.values, input.count * sizeof(float)), "copying the input");
  TVMValue place_and_data[2] = {{.v_int64 = 0}, {.v_handle = data}};
  const int codes[2] = {kTVMArgInt, kTVMDLTensorHandle};
  call(get_function(executor, "set_input"), 2, place_and_data, codes, "setting the input");
  TVMFunctionHandle run = get_function(executor, "run");
  double first_s = sample_s(run, device, 1);
  double error = check_outputs(executor, bundle);

  double one_s = sample_s(run, device, 1);
  int number = one_s < MIN_SAMPLE_S ? (int)lround(MIN_SAMPLE_S / one_s) : 1;
  char error_text[32] = "null"; /* JSON has no infinity */
  if (isfinite(error)) snprintf(error_text, sizeof error_text, "%.9g", error);
  printf("{\"relative_error\": %s, \"kernels_s\": %s, \"first_run_s\": %.9g, \"number\": %d, \"threads\": %d, "
         "\"runtime\": \"TVM %s\", \"samples_s\": [",
         error_text, kernels_text, first_s, number, threads, TVM_VERSION);
  for (int i = 0; i < repeat; ++i) printf("%s%.9g", i ? ", " : "", sample_s(run, device, number));
  printf("]}\n");
  if (!(error <= tolerance))
    fail(NUMERICS, "the output differs from the reference by %.1e (relative; allowed are %.0e).",
         error, tolerance);
  return 0;
}
