/* Runs one signature of a SavedModel with TensorFlow's C API alone, no Python.
 *
 *   run_saved_model FOLDER INPUT OUTPUT pcm|wav FILE
 *
 * INPUT and OUTPUT are operations, "name:index". FILE is raw float32 samples
 * of one clip (pcm), or a WAV file (wav). Prints the output's floats.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static TF_Output find(TF_Graph *graph, char *name) {
  char *colon = strrchr(name, ':');
  if (!colon) fail(name, "has no index");
  *colon = 0;
  TF_Output output = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  if (!output.oper) fail(name, "is not in the graph");
  return output;
}

static void no_op(void *data, size_t length, void *arg) {}

int main(int argc, char **argv) {
  if (argc != 6) fail(argv[0], "wrong number of arguments");
  FILE *file = fopen(argv[5], "rb");
  if (!file) fail(argv[5], "cannot be opened");
  fseek(file, 0, SEEK_END);
  size_t size = ftell(file);
  rewind(file);
  char *content = malloc(size ? size : 1);
  if (fread(content, 1, size, file) != size) fail(argv[5], "cannot be read");

  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(
      options, NULL, argv[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail("load", TF_Message(status));

  TF_Output input = find(graph, argv[2]), output = find(graph, argv[3]);
  TF_Tensor *in, *out = NULL;
  TF_TString *string = malloc(sizeof(TF_TString));
  if (!strcmp(argv[4], "wav")) {
    int64_t shape[] = {1};
    TF_StringInit(string);
    TF_StringCopy(string, content, size);
    in = TF_NewTensor(TF_STRING, shape, 1, string, sizeof *string, no_op, NULL);
  } else {
    int64_t shape[] = {1, (int64_t)(size / sizeof(float))};
    in = TF_NewTensor(TF_FLOAT, shape, 2, content, size, no_op, NULL);
  }
  TF_SessionRun(session, NULL, &input, &in, 1, &output, &out, 1, NULL, 0, NULL,
                status);
  if (TF_GetCode(status) != TF_OK) fail("run", TF_Message(status));
  const float *values = TF_TensorData(out);
  size_t count = TF_TensorByteSize(out) / sizeof(float);
  for (size_t i = 0; i < count; i++) printf("%.9g\n", values[i]);
  return 0;
}
