"""What the command line and the specs both know."""

# What a training step multiplies, over what restoring the same frames does: a backward pass computes the gradient of
# the input and that of the weights of each convolution, each with as many multiply-accumulates as the forward pass.
PASSES = 3
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")  # of convolutions and matrix products
# Height and width of the LR frame, by the name of the output at scale 4.
FRAME_SIZES = {"360p": (90, 160), "720p": (180, 320), "full-hd": (270, 480), "4k": (540, 960)}
