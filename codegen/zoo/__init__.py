"""Model zoo: MobileNet builders, their training script, and the trained default model.

Importing this package loads neither TensorFlow nor Keras: the default model is an ONNX file that
needs neither, and only the builders (``mobilenet``), the exporter (``export``) and the training
script (``train_cifar10``) ask for the extra ``train``, each when it is called.

Folder ``default`` holds the model that is used when none is given, its card and the pictures it
is calibrated with.
"""
