/* Runs one signature of a SavedModel through TensorFlow's C API: no Python, no Keras, the loader of TensorFlow Serving.

   serve_c DIR INPUT:INDEX OUTPUT:INDEX float FILE N H W C    FILE holds raw float32
   serve_c DIR INPUT:INDEX OUTPUT:INDEX bytes FILE...         a batch of image files
   Prints the output's numbers, one a line; on an error its code and message, and ends with 1. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static TF_Status *status;

static void check(void) {
  if (TF_GetCode(status) == TF_OK) return;
  printf("code %d: %s\n", TF_GetCode(status), TF_Message(status));
  exit(1);
}

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) { printf("no file %s\n", path); exit(2); }
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  char *data = malloc(*size + 1);
  if (fread(data, 1, *size, file) != *size) exit(2);
  fclose(file);
  return data;
}

static TF_Output find(TF_Graph *graph, char *name) {
  char *colon = strrchr(name, ':');
  *colon = 0;
  TF_Output found = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  if (!found.oper) { printf("no operation %s\n", name); exit(2); }
  return found;
}

static void release(void *data, size_t size, void *argument) {}

int main(int argc, char **argv) {
  status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(TF_NewSessionOptions(), NULL, argv[1], tags, 1, graph, NULL, status);
  check();
  TF_Output input = find(graph, argv[2]), output = find(graph, argv[3]);
  TF_Tensor *fed, *fetched = NULL;
  if (!strcmp(argv[4], "float")) {
    size_t size;
    char *data = read_file(argv[5], &size);
    int64_t shape[4];
    for (int i = 0; i < 4; i++) shape[i] = atoll(argv[6 + i]);
    fed = TF_NewTensor(TF_FLOAT, shape, 4, data, size, release, NULL);
  } else {
    int64_t count = argc - 5;
    TF_TString *strings = malloc(count * sizeof(TF_TString));
    for (int i = 0; i < count; i++) {
      size_t size;
      char *data = read_file(argv[5 + i], &size);
      TF_TString_Init(&strings[i]);
      TF_TString_Copy(&strings[i], data, size);
    }
    fed = TF_NewTensor(TF_STRING, &count, 1, strings, count * sizeof(TF_TString), release, NULL);
  }
  TF_SessionRun(session, NULL, &input, &fed, 1, &output, &fetched, 1, NULL, 0, NULL, status);
  check();
  const float *numbers = TF_TensorData(fetched);
  for (int64_t i = 0; i < TF_TensorElementCount(fetched); i++) printf("%.9g\n", numbers[i]);
  return 0;
}
