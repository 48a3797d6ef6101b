"""Other names of options and registry entries, for "did you mean". Imports no torch."""

import re

# Name -> synonyms, as `normalised_name` returns them. A synonym may belong to several names; only valid ones are shown.
WORDS = {
    # options
    'lr': 'learningrate learnrate baselr initlr initiallr lr0',
    'batch_size': 'bs b batch batchsz bsz trainbatchsize perdevicetrainbatchsize',
    'num_workers': 'workers nw j jobs numworker nworkers dataworkers dataloadernumworkers',
    'model_type': 'model arch architecture net network backbone modelname',
    'epochs': 'numepochs nepochs maxepochs epoch nepoch ep numtrainepochs niter numepoch totalepochs',
    'max_steps': 'steps iterations iters maxiter maxiters maxiterations numsteps',
    'weight_decay': 'wd decay l2 l2reg regularization',
    'data_type': 'dataset data ds datasetname datasettype',
    'train_list': 'traindir traindata trainpath train trainfile trainset datadir datapath',
    'val_list': 'valdir valdata valpath val valid validation validlist valset testlist testdir testdata test testset',
    'data_root': 'root datadir datapath imageroot imgdir',
    'optimizer': 'optim opt optimiser solver',
    'schedule': 'lrscheduler scheduler sched lrschedule lrpolicy lrsched lrschedulertype',
    'load_model_path': 'weights pretrainedweights checkpoint ckpt ckptpath checkpointpath initialcheckpoint modelpath',
    'pretrained': 'weights pretrainedweights usepretrained imagenet',
    'checkpoints_dir': 'outputdir output outdir out savedir logdir workdir project',
    'result_dir': 'outputdir output outdir out savedir',
    'save_prefix': 'name expname experiment experimentname runname prefix tag',
    'image_size': 'imgsize imgsz inputsize imsize size resolution cropsize resize traincropsize',
    'num_classes': 'numclass nclass nclasses classes nc numlabels',
    'channels': 'inchannels inchans numchannels nchannels',
    'patience': 'earlystopping earlystop earlystoppingpatience',
    'clip_norm': 'gradclip clipgrad clip clipgradnorm maxgradnorm gradientclipval',
    'accumulate': 'gradaccumsteps accumulationsteps gradientaccumulationsteps accum accumulategradbatches accumiter',
    'amp': 'fp16 bf16 mixedprecision precision half useamp',
    'warmup_epochs': 'warmup lrwarmup lrwarmupepochs',
    'label_smoothing': 'smoothing labelsmooth smooth labelsmoothingfactor',
    'lr_steps': 'stepsize milestones lrstepsize lrmilestones decaymilestones decayepochs',
    'gamma': 'lrgamma decayrate factor lrdecayrate',
    'lr_min': 'minlr etamin',
    'lr_decay': 'layerdecay layerwisedecay llrd',
    'beta': 'betas beta2 optbetas adambeta2 b2',
    'momentum': 'beta1 betas optbetas adambeta1 b1',
    'print_freq': 'loginterval logfreq printinterval logevery displayfreq',
    'log_steps': 'loggingsteps logperstep logeverynsteps',
    'save_freq': 'saveinterval saveevery saveperiod checkpointfreq saveepochfreq',
    'seed': 'randomseed manualseed rngseed seedeverything',
    'loss': 'criterion lossfn lossfunction losstype',
    'class_weights': 'classweight lossweights posweight',
    'augment': 'aug augmentation augmentations augs transforms transform autoaugment aa',
    'gpus': 'gpu gpuids gpuid devices numgpus ngpus cudavisibledevices',
    'device': 'mps cuda nocuda cpu usegpu usecuda',
    'ema': 'modelema emadecay modelemadecay',
    'resume': 'resumefrom resumepath continue resumefromcheckpoint continuetrain',
    'freeze': 'freezelayers freezebackbone frozen',
    'sync_bn': 'syncbatchnorm syncbatchnorms',
    'compile': 'torchcompile',
    'cache_dir': 'cache cacheimages',
    # losses
    'ce': 'crossentropy xent softmax nll categoricalcrossentropy',
    'bce': 'binarycrossentropy bcewithlogits sigmoid',
    'l1': 'mae meanabsoluteerror',
    'mse': 'l2 meansquarederror',
    'huber': 'smoothl1',
    # schedules
    'cosine': 'cosineannealing cos cosineannealingwarmrestarts cosinedecay',
    'poly': 'polynomial polynomialdecay',
    'onecycle': '1cycle superconvergence',
    'plateau': 'reduceonplateau reducelronplateau reduce',
    'exponential': 'exp expdecay',
    'none': 'constant off fixed',
    # optimizers
    'sgd': 'momentum nesterov sgdm sgdnesterov',
    'adamw': 'fusedadamw adamwtorch',
    # kinds of data and tasks
    'folder': 'imagefolder directory dir',
    'array': 'csv npz table tabular numpy',
    'stream': 'webdataset wds tar jsonl shards',
    'list': 'txt file filelist',
    'classification': 'cls classify classifier multiclass',
    'segmentation': 'semanticsegmentation semseg segment',
    'multilabel': 'multi tagging tags',
    'restoration': 'denoising superresolution sr imagetoimage',
    # metrics
    'acc': 'accuracy top1 acc1',
    'pixel_acc': 'accuracy acc',
    'acc_top5': 'top5 acc5',
    'auroc': 'auc rocauc',
    'f1_macro': 'f1 f1score fscore',
    'miou': 'iou meaniou jaccard',
}
NAME_SUFFIXES = ('loss', 'lr', 'scheduler')  # CrossEntropyLoss, CosineAnnealingLR


def normalised_name(name):
    """Return a name (str) in lower case without separators: 'Cross-Entropy' is 'crossentropy'."""
    return re.sub(r'[\W_]+', '', name.lower())


def same_names(name, names):
    """Return the names (list of str) of `names` that `name` spells differently, else those that it is a synonym of."""
    wanted = normalised_name(name)
    stems = [wanted, *(wanted.removesuffix(ending) for ending in NAME_SUFFIXES if wanted.endswith(ending))]
    for stem in filter(None, stems):
        if spelt := [known for known in names if normalised_name(known) == stem]:
            return spelt
        if meant := [known for known in names if stem in WORDS.get(known, '').split()]:
            return meant
    return []
